#include "autograd/ops/hashed.h"
#include "autograd/ops/linear.h"
#include "tests/engines_testing.h"
#include "tests/ops_testing.h"

using namespace hashgrad;
using namespace hashgrad::testing;

namespace {

HashedMatrixPtr linear_matrix(int64_t buckets, int64_t out, int64_t in, HashMode mode = HashMode::full) {
  return std::make_shared<const cpu::HashedMatrix>(cpu::HashedMatrix::linear({7, buckets, mode}, out, in));
}
HashedMatrixPtr conv_matrix(int64_t buckets, int64_t out, int64_t in, int64_t kernel, HashMode mode) {
  return std::make_shared<const cpu::HashedMatrix>(
      cpu::HashedMatrix::convolution({7, buckets, mode}, out, in, kernel, kernel));
}

double dot(const Tensor& a, const Tensor& b) {
  const std::vector<double> u = a.to(DType::float64).to_vector<double>(),
                            v = b.to(DType::float64).to_vector<double>();
  REQUIRE(u.size() == v.size());
  double sum = 0;
  for (size_t i = 0; i < u.size(); ++i) sum += u[i] * v[i];
  return sum;
}

/// y = f(x, w, bias) with all gradients for two stacked cotangents.
template <class F>
std::vector<Tensor> value_and_gradients(const F& f, const Tensor& x, const Tensor& w, const Tensor& bias) {
  const std::vector<Variable> in{Variable::leaf(x), Variable::leaf(w), Variable::leaf(bias)};
  const Variable y = f(in[0], in[1], in[2]);
  std::vector<Tensor> results = vjp(y, in, random_tensor(y.shape().with(0, 2), 4, x.dtype()).to(x.device()));
  results.push_back(y.value());
  return results;
}

}  // namespace

TEST_CASE("hashed_linear is linear on the virtual matrix written out, gradients too") {
  struct Case {
    int64_t batch, in, out, buckets;
  };
  for (const Case& c :
       {Case{1, 1, 1, 1}, Case{3, 17, 5, 7}, Case{33, 129, 17, 64}, Case{5, 33, 129, 1000}, Case{0, 5, 3, 7}})
    for (HashMode mode : {HashMode::full, HashMode::xxhash})
      for (DType dtype : {DType::float32, DType::float64})
        for (Activation activation : {Activation::none, Activation::relu}) {
          CAPTURE(c.batch);
          CAPTURE(c.in);
          CAPTURE(c.out);
          const HashedMatrixPtr v = linear_matrix(c.buckets, c.out, c.in, mode);
          const Tensor x = random_tensor({c.batch, c.in}, 1, dtype), w = random_tensor({c.buckets}, 2, dtype),
                       b = random_tensor({c.out}, 3, dtype);
          const auto hashed = value_and_gradients(
              [&](auto& xx, auto& ww, auto& bb) { return hashed_linear(xx, ww, bb, v, activation); }, x, w,
              b);
          const auto dense = value_and_gradients(
              [&](auto& xx, auto& ww, auto& bb) {
                return linear(xx, hashed_weight(ww, v, {c.out, c.in}), bb, activation);
              },
              x, w, b);
          for (size_t i = 0; i < hashed.size(); ++i) {
            CAPTURE(i);
            CHECK(difference(hashed[i], dense[i]) < (dtype == DType::float32 ? 2e-4 : 1e-12));
          }
        }
}

TEST_CASE("hashed_linear in modes strat and window is linear on the virtual matrix written out") {
  for (HashMode mode : {HashMode::strat, HashMode::window}) {
    const HashedMatrixPtr v = linear_matrix(96, 33, 129, mode);
    const Tensor x = random_tensor({17, 129}, 1), w = random_tensor({96}, 2), b = random_tensor({33}, 3);
    const auto hashed = value_and_gradients(
        [&](auto& xx, auto& ww, auto& bb) { return hashed_linear(xx, ww, bb, v); }, x, w, b);
    const auto dense = value_and_gradients(
        [&](auto& xx, auto& ww, auto& bb) {
          return linear(xx, hashed_weight(ww, v, {33, 129}), bb);
        },
        x, w, b);
    for (size_t i = 0; i < hashed.size(); ++i) CHECK(difference(hashed[i], dense[i]) < 2e-4);
  }
}

TEST_CASE("hashed ops on other devices give what the CPU gives") {
  const double close = 1e-5;  // sums of up to 258 float32 terms in another order
  for (const Device device : other_devices())
    for (HashMode mode : hash_modes) {
      CAPTURE(to_string(device));
      CAPTURE(name_of(mode));
      const HashedMatrixPtr v = linear_matrix(96, 33, 129, mode), kernel = conv_matrix(32, 5, 3, 3, mode);
      const auto linear_relu = [&](auto& x, auto& w, auto& b) {
        return hashed_linear(x, w, b, v, Activation::relu);
      };
      const auto conv = [&](auto& x, auto& w, auto& b) {
        return hashed_conv2d(x, w, b, kernel, 3, 3, {1, 1, Activation::relu, true});
      };
      const auto compare = [&](const auto& f, const Tensor& x, const Tensor& w, const Tensor& b) {
        const auto here = value_and_gradients(f, x, w, b),
                   there = value_and_gradients(f, x.to(device), w.to(device), b.to(device));
        for (size_t i = 0; i < here.size(); ++i) {
          CHECK(there[i].device() == device);
          CHECK(difference(there[i].to(Device{}), here[i]) < close);
        }
      };
      compare(linear_relu, random_tensor({17, 129}, 1), random_tensor({96}, 2), random_tensor({33}, 3));
      compare(linear_relu, random_tensor({0, 129}, 1), random_tensor({96}, 2), random_tensor({33}, 3));
      compare(conv, random_tensor({2, 3, 8, 6}, 1), random_tensor({32}, 2), random_tensor({5}, 3));
      const auto bias =
          std::make_shared<const cpu::HashedMatrix>(cpu::HashedMatrix::linear_bias({7, 4, mode}, 9));
      const Tensor b = random_tensor({4}, 1);
      CHECK(identical(hashed_bias(b.to(device), bias).to(Device{}), hashed_bias(b, bias)));
    }
}

TEST_CASE("hashed_linear is linear in its buckets: <dy, x V^T> = <dw, w>") {
  const HashedMatrixPtr v = linear_matrix(50, 33, 65);
  const Variable x(random_tensor({17, 65}, 1, DType::float64));
  const Tensor w = random_tensor({50}, 2, DType::float64), dy = random_tensor({17, 33}, 3, DType::float64);
  const Result r =
      run([&](const Variable& buckets) { return hashed_linear(x, buckets, Variable(), v); }, w, dy);
  CHECK(dot(dy, r.value) == doctest::Approx(dot(r.gradient, w)).epsilon(1e-12));
  CHECK(dot(dy, r.value) != 0);
}

TEST_CASE("hashed_conv2d is conv2d on the virtual weights written out, bit for bit") {
  for (HashMode mode : {HashMode::full, HashMode::xxhash})
    for (int64_t kernel : {1, 3, 5}) {
      CAPTURE(kernel);
      const HashedMatrixPtr v = conv_matrix(7, 5, 3, kernel, mode);
      const Tensor x = random_tensor({2, 3, 8, 7}, 1), w = random_tensor({7}, 2), b = random_tensor({5}, 3);
      Tensor weight = Tensor::empty({5, 3, kernel, kernel});
      cpu::materialise(*v, w.data<float>(), weight.data<float>());
      const Conv2dOptions options{1, kernel / 2, Activation::relu, true};
      const auto hashed = [&](const Variable& xx) {
        return hashed_conv2d(xx, Variable(w), Variable(b), v, kernel, kernel, options);
      };
      const auto dense = [&](const Variable& xx) {
        return conv2d(xx, Variable(weight), Variable(b), options);
      };
      const Result a = run(hashed, x), c = run(dense, x);
      CHECK(identical(a.value, c.value));
      CHECK(identical(a.gradient, c.gradient));
    }
}

TEST_CASE("the gradient of a hashed weight is the signed sum over each bucket") {
  const HashedMatrixPtr v = linear_matrix(3, 4, 5);
  const Tensor dv = random_tensor({4, 5}, 1, DType::float64);
  const Result r = run(
      [&](const Variable& w) {
        return hashed_weight(w, v, {4, 5});
      },
      Tensor::of<double>({10, 20, 30}, {3}), dv);
  double expected[3] = {0, 0, 0};
  for (int64_t i = 0; i < 4; ++i)
    for (int64_t j = 0; j < 5; ++j) {
      const uint32_t slot = v->slot(i, j);
      const double sign = slot & 1 ? -1 : 1;
      CHECK(r.value.data<double>()[i * 5 + j] == sign * 10 * (1 + (slot >> 1)));
      expected[slot >> 1] += sign * dv.data<double>()[i * 5 + j];
    }
  for (int b = 0; b < 3; ++b)
    CHECK(r.gradient.data<double>()[b] == doctest::Approx(expected[b]).epsilon(1e-12));
}

TEST_CASE("a row's hashed layer does not depend on its batch") {
  const HashedMatrixPtr v = linear_matrix(64, 33, 129);
  const Variable w(random_tensor({64}, 1)), b(random_tensor({33}, 2));
  const auto f = [&](const Variable& x) { return hashed_linear(x, w, b, v, Activation::relu); };
  for (int64_t batch : {3, 17, 33}) {
    CAPTURE(batch);
    check_rows_stand_alone(f, random_tensor({batch, 129}, 3));
  }
}

TEST_CASE("a hashed bias adds its own buckets to every row") {
  const auto v = std::make_shared<const cpu::HashedMatrix>(cpu::HashedMatrix::linear_bias({7, 4}, 9));
  const Tensor b = random_tensor({4}, 1), whole = hashed_bias(b, v);
  CHECK(whole.shape() == Shape{9});
  for (int64_t i = 0; i < 9; ++i) {
    const uint32_t slot = v->slot(i, 0);
    const float value = b.data<float>()[slot >> 1];
    CHECK(whole.data<float>()[i] == (slot & 1 ? -value : value));
  }
}

TEST_CASE("hashed_linear saves and computes what its gradients need, nothing else") {
  const HashedMatrixPtr v = linear_matrix(7, 4, 5);
  const Tensor x = random_tensor({3, 5}, 1), w = random_tensor({7}, 2), b = random_tensor({4}, 3);
  HashedLinear attack{v, Activation::none}, training{v, Activation::none};
  attack.forward(0b001, x, w, b);
  training.forward(0b110, x, w, b);
  CHECK(!attack.x.defined());
  CHECK(!training.w.defined());
  const Tensor dy = random_tensor({3, 4}, 4);
  const Gradients<3> g = attack.backward(0b001, dy, 1), p = training.backward(0b110, dy, 1);
  CHECK(g[0].defined());
  CHECK(!g[1].defined());
  CHECK(!g[2].defined());
  CHECK(!p[0].defined());
  CHECK(p[1].defined());
  CHECK(p[2].defined());
}

TEST_CASE("hashed ops refuse shapes that do not fit their matrix") {
  const HashedMatrixPtr v = linear_matrix(7, 4, 5);
  const Tensor x = Tensor::zeros({3, 5}), w = Tensor::zeros({7}), none;
  CHECK_THROWS_WITH_AS(hashed_linear(Tensor::zeros({3, 6}), w, none, v),
                       "hashed_linear: x of shape [3,6], [N,5] expected", Error);
  CHECK_THROWS_WITH_AS(hashed_linear(x, Tensor::zeros({8}), none, v),
                       "hashed_linear: w of shape [8], [7] expected", Error);
  CHECK_THROWS_AS(hashed_linear(x, w, Tensor::zeros({5}), v), Error);
  CHECK_THROWS_AS(hashed_linear(x, w.to(DType::float64), none, v), Error);
  CHECK_THROWS_WITH_AS(hashed_linear(x, w, Tensor::zeros({4}, DType::float64), v),
                       "hashed_linear: x is float32, w float32, bias float64: one type expected", Error);
  CHECK_THROWS_AS(hashed_linear(x, w, none, nullptr), Error);
  CHECK_THROWS_AS(hashed_weight(w, v, {4, 6}), Error);
  CHECK_THROWS_WITH_AS(hashed_weight(Tensor::zeros({8}), v, {4, 5}),
                       "hashed_weight: w of shape [8], [7] expected", Error);
  CHECK_THROWS_AS(hashed_conv2d(Tensor::zeros({1, 1, 4, 4}), w, none, v, 3, 3), Error);
}
