// Products in bf16 and split bf16: how exact they are, that they are products of what they say, that bits
// depend on nothing but the row, and that doubles and biases stay.
#include "core/math_mode.h"

#include <string>

#include "attacks/fgsm.h"
#include "attacks/registry.h"
#include "attacks/transfer.h"
#include "cpu/conv2d.h"
#include "cpu/gemm.h"
#include "cpu/hash_gemm.h"
#include "cpu/kept_panels.h"
#include "tests/attack_models.h"
#include "tests/cpu_testing.h"
#include "tests/error_of.h"

namespace {

using namespace hashgrad;
using namespace hashgrad::cpu_testing;
using cpu::Conv2dShape;

constexpr Math reduced[] = {Math::split_bf16, Math::split_bf16_x6, Math::bf16};

/// What a product of n terms of at most one may be off by: of operands, and of the float32 sum.
double allowed(Math math, int64_t n) {
  const double operands = math == Math::bf16 ? 0x1p-8 : math == Math::split_bf16 ? 0x1p-16 : 0x1p-23;
  return tolerance<float>(n) + 4 * operands * std::sqrt(static_cast<double>(n));
}

std::vector<double> doubles(const std::vector<float>& x) { return {x.begin(), x.end()}; }

std::vector<float> rounded(std::vector<float> values) {
  for (float& v : values) v = rounded_to_bf16(v);
  return values;
}

template <class T>
std::vector<T> product(bool trans_a, bool trans_b, int64_t m, const std::vector<T>& a,
                       const std::vector<T>& b, const std::vector<T>& bias) {
  const int64_t n = std::ssize(bias), k = std::ssize(a) / m;
  auto c = poisoned<T>(m * n);
  cpu::gemm(trans_a, trans_b, m, n, k, a.data(), trans_a ? m : k, b.data(), trans_b ? k : n, c.data(), n,
            {.column_bias = bias.data(), .relu = true});
  return c;
}

template <class T>
struct Convolution {
  std::vector<T> y, dx, dweight, dbias;
};

/// A fused convolution and its gradients; `output` decides where ReLU lets the gradient through.
template <class T>
Convolution<T> convolution(const Conv2dShape& s, const std::vector<T>& x, const std::vector<T>& weight,
                           const std::vector<T>& bias, const std::vector<T>& dy,
                           const std::vector<T>& output) {
  Convolution<T> c{poisoned<T>(std::ssize(dy)), poisoned<T>(std::ssize(x)), poisoned<T>(std::ssize(weight)),
                   poisoned<T>(std::ssize(bias))};
  cpu::conv2d_forward(s, x.data(), weight.data(), bias.data(), true, c.y.data());
  cpu::conv2d_backward_input(s, weight.data(), {dy.data(), output.data()}, c.dx.data());
  cpu::conv2d_backward_weight(s, x.data(), {dy.data(), output.data()}, c.dweight.data(), c.dbias.data());
  return c;
}

/// Stride 1 and 2, also of a kernel that is smaller, one, two and an odd number of channels, panels that are
/// full and not, several blocks of depth, images that are wide, narrow and one pixel; a batch whose weight
/// gradient is cut into chunks of several images.
const Conv2dShape shapes[] = {
    {2, 1, 12, 9, 5, 3, 3, 1, 1},  {9, 6, 9, 13, 7, 3, 3, 1, 1},    {0, 3, 8, 8, 4, 3, 3, 2, 1},
    {3, 17, 7, 7, 33, 3, 3, 2, 1}, {17, 2, 18, 17, 40, 5, 5, 1, 2}, {8, 33, 3, 4, 65, 3, 3, 1, 1},
    {5, 129, 2, 2, 3, 3, 3, 1, 1}, {2, 3, 1, 1, 17, 1, 1, 1, 0},    {1, 4, 40, 33, 8, 3, 3, 3, 0},
    {3, 5, 6, 7, 9, 1, 1, 2, 0},   {17, 2, 33, 33, 5, 3, 3, 1, 1},  {2, 8, 32, 32, 4, 5, 5, 2, 2}};

struct Case {
  std::vector<float> x, weight, bias, dy, output;

  explicit Case(const Conv2dShape& s)
      : x(random_values<float>(s.batch * s.in_channels * s.in_pixels(), 1)),
        weight(random_values<float>(s.out_channels * s.depth(), 2)),
        bias(random_values<float>(s.out_channels, 3)),
        dy(random_values<float>(s.batch * s.out_channels * s.out_pixels(), 4)),
        output(random_values<float>(std::ssize(dy), 5)) {}
};

}  // namespace

TEST_CASE("the nearest bf16: ties to even, beyond the largest infinity, NaN stays NaN") {
  const float step = 1.0f / 128;
  CHECK(rounded_to_bf16(1 + step) == 1 + step);
  CHECK(rounded_to_bf16(1 + 0.49f * step) == 1);
  CHECK(rounded_to_bf16(1 + step / 2) == 1);  // between an even and an odd one
  CHECK(rounded_to_bf16(1 + 3 * step / 2) == 1 + 2 * step);
  CHECK(rounded_to_bf16(-1 - 0.51f * step) == -1 - step);
  CHECK(rounded_to_bf16(std::numeric_limits<float>::max()) == INFINITY);
  CHECK(rounded_to_bf16(-INFINITY) == -INFINITY);
  CHECK(std::isnan(rounded_to_bf16(NAN)));
  CHECK(std::signbit(rounded_to_bf16(-0.0f)));
}

TEST_CASE("arithmetics go by their names") {
  for (const std::string& name : math_names()) CHECK(name_of(parse_math(name)) == name);
  CHECK(hashgrad::testing::error_of([] { parse_math("tf32"); }) ==
        "math: 'tf32' is not available (accepted: fp32, split-bf16, split-bf16-x6, bf16)");
}

TEST_CASE("a matrix product is as exact as its arithmetic, with a bias as it is; doubles stay") {
  for_each_isa([&] {
    for (const Math math : reduced) {
      CAPTURE(name_of(math));
      for (const int64_t m : {1, 33})
        for (const int64_t n : {1, 3, 17, 129})
          for (const int64_t k : {1, 3, 33, 129, 1100})
            for (const int layout : {0, 1, 2, 3}) {
              const bool ta = (layout & 1) != 0, tb = (layout & 2) != 0;
              const auto a = random_values<float>(m * k, 1), b = random_values<float>(k * n, 2),
                         bias = random_values<float>(n, 3);
              const auto want = product(ta, tb, m, doubles(a), doubles(b), doubles(bias));
              const MathScope scope(math);
              CHECK(distance(product(ta, tb, m, a, b, bias), want) < allowed(math, k));
              CHECK(same_bits(product(ta, tb, m, doubles(a), doubles(b), doubles(bias)), want));
            }
    }
  });
}

TEST_CASE("an empty product is its bias, in every arithmetic") {
  const float bias[] = {1, -2, 3}, nothing = 0;
  for (const Math math : reduced) {
    const MathScope scope(math);
    auto c = poisoned<float>(6);
    cpu::gemm<float>(false, true, 2, 3, 0, &nothing, 0, &nothing, 0, c.data(), 3,
                     {.column_bias = bias, .relu = true});
    CHECK(c == std::vector<float>{1, 0, 3, 1, 0, 3});
    for (const auto& [m, n] : {std::pair{0, 0}, {0, 3}, {2, 0}})
      for (const int64_t k : {0, 5})
        cpu::gemm<float>(false, true, m, n, k, &nothing, k, &nothing, k, nullptr, n);
  }
}

TEST_CASE("bf16 is the product of rounded operands; split-bf16 rounds less, split-bf16-x6 least") {
  const int64_t k = 257, n = 33;
  const auto a = random_values<float>(33 * k, 1), b = random_values<float>(k * n, 2),
             bias = random_values<float>(n, 3);
  const auto of_rounded = product(false, true, 33, doubles(rounded(a)), doubles(rounded(b)), doubles(bias));
  const auto of_exact = product(false, true, 33, doubles(a), doubles(b), doubles(bias));
  for_each_isa([&] {
    const auto by = [&](Math math) {
      const MathScope scope(math);
      return product(false, true, 33, a, b, bias);
    };
    CHECK(distance(by(Math::bf16), of_rounded) < tolerance<float>(k));
    CHECK(distance(by(Math::bf16), of_exact) > 0x1p-10);  // so that the bound above can fail
    CHECK(distance(by(Math::split_bf16), of_exact) > 2 * distance(by(Math::split_bf16_x6), of_exact));
  });
}

TEST_CASE("a convolution is as exact as its arithmetic in all directions, its bias as it is") {
  for_each_isa([&] {
    for (const Conv2dShape& s : shapes) {
      CAPTURE(std::to_string(s.in_channels));
      const Case c(s);
      const auto want =
          convolution(s, doubles(c.x), doubles(c.weight), doubles(c.bias), doubles(c.dy), doubles(c.output));
      const auto full = convolution(s, c.x, c.weight, c.bias, c.dy, c.output);
      for (const Math math : reduced) {
        CAPTURE(name_of(math));
        const MathScope scope(math);
        const auto got = convolution(s, c.x, c.weight, c.bias, c.dy, c.output);
        CHECK(distance(got.y, want.y) < allowed(math, s.depth()));
        CHECK(distance(got.dx, want.dx) < allowed(math, s.out_channels * s.kernel_h * s.kernel_w));
        CHECK(distance(got.dweight, want.dweight) < allowed(math, s.batch * s.out_pixels()));
        CHECK(same_bits(got.dbias, full.dbias));
      }
    }
  });
}

TEST_CASE("products with a hashed matrix are as exact as their arithmetic, in every mode of hashing") {
  const int64_t batch = 37, outputs = 70, inputs = 601;
  const auto x = random_values<float>(batch * inputs, 1), dy = random_values<float>(batch * outputs, 2),
             w = random_values<float>(4096, 3), bias = random_values<float>(outputs, 4);
  const auto all = [&]<class T>(const cpu::HashedMatrix& v, const std::vector<T>& a, const std::vector<T>& g,
                                const std::vector<T>& values, const std::vector<T>& shift) {
    auto y = poisoned<T>(batch * outputs), dx = poisoned<T>(batch * inputs), dw = poisoned<T>(4096);
    cpu::hashed_linear<T>(v, values.data(), batch, a.data(), y.data(), {.column_bias = shift.data()});
    cpu::hashed_linear_input_gradient<T>(v, values.data(), batch, g.data(), dx.data(), {});
    cpu::hashed_linear_bucket_gradient<T>(v, batch, a.data(), g.data(), dw.data());
    return std::array{y, dx, dw};
  };
  for (const HashMode mode : {HashMode::full, HashMode::strat, HashMode::window, HashMode::xxhash}) {
    const auto v = cpu::HashedMatrix::linear({5, 4096, mode}, outputs, inputs);
    const auto want = all(v, doubles(x), doubles(dy), doubles(w), doubles(bias));
    for_each_isa([&] {
      for (const Math math : reduced) {
        CAPTURE(name_of(math));
        const MathScope scope(math);
        const auto got = all(v, x, dy, w, bias);
        CHECK(distance(got[0], want[0]) < allowed(math, inputs));
        CHECK(distance(got[1], want[1]) < allowed(math, outputs));
        CHECK(distance(got[2], want[2]) < 8 * allowed(math, batch));  // a bucket is the sum of about ten
        check_threads([&] {
          const MathScope inner(math);
          return all(v, x, dy, w, bias)[2];
        });
      }
    });
  }
}

TEST_CASE("pooling fused behind a convolution pools what the convolution alone makes, in every arithmetic") {
  const Conv2dShape s{10, 3, 9, 14, 34, 3, 3, 1, 1};
  const Case c(s);
  const int64_t pooled = s.batch * s.out_channels * (s.out_height() / 2) * (s.out_width() / 2);
  for_each_isa([&] {
    for (const Math math : reduced) {
      const MathScope scope(math);
      auto y = poisoned<float>(std::ssize(c.dy)), fused = poisoned<float>(pooled);
      std::vector<uint8_t> argmax(static_cast<size_t>(pooled), 9);
      cpu::conv2d_forward(s, c.x.data(), c.weight.data(), c.bias.data(), true, y.data());
      cpu::conv2d_relu_pool_forward(s, c.x.data(), c.weight.data(), c.bias.data(), fused.data(),
                                    argmax.data());
      int64_t at = 0, wrong = 0;
      for (int64_t plane = 0; plane < s.batch * s.out_channels; ++plane)
        for (int64_t i = 0; i < s.out_height() / 2; ++i)
          for (int64_t j = 0; j < s.out_width() / 2; ++j, ++at) {
            const size_t where = argmax[static_cast<size_t>(at)];
            const float* window = y.data() + plane * s.out_pixels() + 2 * i * s.out_width() + 2 * j;
            wrong += window[where / 2 * static_cast<size_t>(s.out_width()) + where % 2] !=
                     fused[static_cast<size_t>(at)];
          }
      CHECK(wrong == 0);
    }
  });
}

TEST_CASE("a ReLU that lets everything through changes no bit of a gradient, in every arithmetic") {
  for (const Conv2dShape& s : {Conv2dShape{3, 2, 33, 33, 40, 3, 3, 1, 1}, {9, 33, 8, 8, 5, 3, 3, 1, 1}}) {
    Case c(s);
    std::fill(c.output.begin(), c.output.end(), 1.0f);
    for_each_isa([&] {
      for (const Math math : reduced) {
        const MathScope scope(math);
        const auto gated = convolution(s, c.x, c.weight, c.bias, c.dy, c.output);
        auto dx = poisoned<float>(std::ssize(c.x)), dweight = poisoned<float>(std::ssize(c.weight)),
             dbias = poisoned<float>(std::ssize(c.bias));
        cpu::conv2d_backward_input(s, c.weight.data(), {c.dy.data()}, dx.data());
        cpu::conv2d_backward_weight(s, c.x.data(), {c.dy.data()}, dweight.data(), dbias.data());
        CHECK(same_bits(dx, gated.dx));
        CHECK(same_bits(dweight, gated.dweight));
        CHECK(same_bits(dbias, gated.dbias));
      }
    });
  }
}

TEST_CASE("weights of a convolution are packed once while they are kept, for each arithmetic and direction") {
  const Conv2dShape s{2, 34, 8, 8, 34, 3, 3, 1, 1};
  Case c(s);
  std::vector<Convolution<float>> want;
  const auto check_all = [&] {
    for (size_t i = 0; i < std::size(reduced); ++i) {
      const MathScope scope(reduced[i]);
      const auto got = convolution(s, c.x, c.weight, c.bias, c.dy, c.output);
      if (want.size() == i) want.push_back(got);
      CHECK(same_bits(got.y, want[i].y));
      CHECK(same_bits(got.dx, want[i].dx));
    }
  };
  check_all();
  const cpu::KeepPanels kept({c.weight.data()});
  check_all();
  std::fill(c.weight.begin(), c.weight.end(), 0.0f);  // nobody looks
  check_all();
}

TEST_CASE("reduced arithmetic gives the same bits whatever the threads, and a row the same in any batch") {
  const Conv2dShape s{17, 5, 11, 14, 70, 3, 3, 1, 1}, chunked{17, 2, 33, 33, 5, 3, 3, 1, 1};
  const Case c(s), of_chunked(chunked);
  const int64_t k = 700, n = 65;
  const auto a = random_values<float>(130 * k, 1), b = random_values<float>(k * n, 2),
             bias = random_values<float>(n, 3);
  for_each_isa([&] {
    for (const Math math : reduced) {
      CAPTURE(name_of(math));
      const auto in = [&](const auto& compute) {
        return [&] {
          const MathScope scope(math);
          return compute();
        };
      };
      check_threads(in([&] { return product(false, true, 130, a, b, bias); }));
      check_threads(in([&] { return convolution(s, c.x, c.weight, c.bias, c.dy, c.output).dweight; }));
      check_threads(in([&] { return convolution(s, c.x, c.weight, c.bias, c.dy, c.output).dx; }));
      check_threads(in([&] {
        return convolution(chunked, of_chunked.x, of_chunked.weight, of_chunked.bias, of_chunked.dy,
                           of_chunked.output)
            .dweight;
      }));

      const MathScope scope(math);
      const auto all = product(false, true, 130, a, b, bias);
      const std::vector<float> row(a.begin() + 77 * k, a.begin() + 78 * k);
      CHECK(same_bits(product(false, true, 1, row, b, bias),
                      std::vector<float>(all.begin() + 77 * n, all.begin() + 78 * n)));
      Conv2dShape one = s;
      one.batch = 1;
      const auto whole = convolution(s, c.x, c.weight, c.bias, c.dy, c.output);
      const auto part = [&](const std::vector<float>& v) {
        const int64_t size = std::ssize(v) / s.batch;
        return std::vector<float>(v.begin() + 13 * size, v.begin() + 14 * size);
      };
      const auto alone = convolution(one, part(c.x), c.weight, c.bias, part(c.dy), part(c.output));
      CHECK(same_bits(alone.y, part(whole.y)));
      CHECK(same_bits(alone.dx, part(whole.dx)));
    }
  });
}

TEST_CASE("a NaN in an operand comes out, and stays in its row") {
  auto a = random_values<float>(40 * 50, 1);
  const auto b = random_values<float>(50 * 35, 2), bias = random_values<float>(35, 3);
  a[7 * 50 + 49] = NAN;
  for_each_isa([&] {
    for (const Math math : reduced) {
      const MathScope scope(math);
      const auto c = product(false, true, 40, a, b, bias);
      int64_t wrong = 0;
      for (int64_t i = 0; i < 40 * 35; ++i) wrong += std::isnan(c[static_cast<size_t>(i)]) != (i / 35 == 7);
      CHECK(wrong == 0);
    }
  });
}

TEST_CASE("what an attack made is judged in fp32, whatever it was made in") {
  // Slopes of 1 and 1.001, equal in bf16: class 1 is ahead in fp32, and in bf16 the first of a tie, class 0.
  const Model model = hashgrad::testing::linear_model({1, 1.001}, {0, 0}, DType::float32);
  const AttackInput input{
      Tensor::of(std::vector<float>{0.5f}, {1, 1, 1, 1}), hashgrad::testing::classes({0}), {}, {}};
  const MathScope scope(Math::bf16);
  CHECK(Oracle(model).predict(input.x) == std::vector<int64_t>{0});  // so that a judge in bf16 would show
  Fgsm::Options options;
  options.eps = 0.01;
  const AttackResult result = Fgsm(options).run(model, input);
  CHECK(result.success.data<uint8_t>()[0] == 1);
  CHECK(apply_to(model, input, result, {}).reached.hits == 1);
}

TEST_CASE("an attack does not stop at a success that reduced arithmetic alone sees") {
  using namespace hashgrad::testing;
  const Model model = small_net();
  const Tensor x = images(40, model.input_shape());
  const AttackInput input{x, own_labels(model, x), {}, {}};
  const auto broken = [&](const std::string& spec, Math math) {
    const MathScope scope(math);
    int64_t count = 0;
    for (const uint8_t success : make_attack(spec)->run(model, input).success.to_vector<uint8_t>())
      count += success;
    return count;
  };
  // Where fp32 breaks every image, so does an attack that takes its gradients from bf16, all but one at most.
  for (const std::string spec :
       {"deepfool", "fab:iters=60", "fab-t:iters=20,norm=l2", "cw-l2:c0=1,c-steps=3,iters=60,lr=0.1",
        "cw-linf:c0=0.1,c-steps=8,iters=60,lr=0.05", "ead:c0=1,c-steps=3,iters=60", "pgd:eps=1", "bim:eps=1",
        "mim:eps=1", "ifgsm:eps=0.1,iters=30", "apgd-ce:eps=1", "hop-skip-jump:iters=3,probes=20",
        "random-noise:eps=1"}) {
    CAPTURE(spec);
    CHECK(broken(spec, Math::fp32) == 40);
    CHECK(broken(spec, Math::bf16) >= 39);
  }
}

TEST_CASE("what is wrong before an attack is so in fp32, whatever the attack is made in") {
  using namespace hashgrad::testing;
  const Model model = linear_model({1, 1.001}, {0, 0}, DType::float32);  // as above
  const Tensor x = Tensor::of(std::vector<float>{0.5f}, {1, 1, 1, 1});
  const AttackInput wrong{x, classes({0}), {}, {}}, right{x, classes({1}), {}, {}};
  const MathScope scope(Math::bf16);
  for (const AttackInfo& info : all_attacks()) {
    if (info.name.starts_with("apgd") || info.name == "autoattack") continue;  // more classes
    CAPTURE(info.name);
    const auto attack = make_attack(info.name + ":" + (info.name == "fgm" ? "eps=0.5" : info.samples[0]));
    CHECK(status_of(attack->run(model, wrong), 0) == Status::already_wrong);
    CHECK(status_of(attack->run(model, right), 0) != Status::already_wrong);
  }
}
