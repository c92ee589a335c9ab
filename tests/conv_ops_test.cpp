#include "autograd/ops/arithmetic.h"
#include "autograd/ops/batch_norm.h"
#include "autograd/ops/conv2d.h"
#include "autograd/ops/conv_norm.h"
#include "autograd/ops/pointwise.h"
#include "autograd/ops/pool2d.h"
#include "core/math_mode.h"
#include "cpu/relu_mask.h"
#include "tests/error_of.h"
#include "tests/ops_testing.h"

using namespace hashgrad;
using namespace hashgrad::testing;

namespace {

constexpr Conv2dOptions fused(int64_t stride, int64_t padding, bool max_pool2) {
  return {stride, padding, Activation::relu, max_pool2};
}

struct Case {
  Shape x, weight;
  int64_t stride, padding;
};
const Case cases[] = {{{3, 1, 9, 8}, {17, 1, 5, 5}, 1, 2}, {{2, 3, 7, 6}, {5, 3, 3, 3}, 1, 1},
                      {{2, 5, 7, 6}, {6, 5, 3, 3}, 1, 1},  {{1, 3, 12, 13}, {4, 3, 3, 3}, 2, 1},
                      {{5, 2, 4, 4}, {33, 2, 1, 1}, 1, 0}, {{0, 2, 6, 6}, {3, 2, 3, 3}, 1, 0}};

/// Values and all gradients of y = f(x, weight, bias) for a fixed cotangent.
template <class F>
std::vector<Tensor> value_and_gradients(const F& f, const Case& c, DType dtype) {
  const std::vector<Variable> in{Variable::leaf(random_tensor(c.x, 1, dtype)),
                                 Variable::leaf(random_tensor(c.weight, 2, dtype)),
                                 Variable::leaf(random_tensor({c.weight[0]}, 3, dtype))};
  const Variable y = f(in[0], in[1], in[2]);
  std::vector<Tensor> results = vjp(y, in, random_tensor(y.shape().with(0, 3), 4, dtype));
  results.push_back(y.value());
  return results;
}

template <class F, class G>
void check_same_bits(const F& f, const G& g, const Case& c) {
  for (DType dtype : {DType::float32, DType::float64}) {
    const auto a = value_and_gradients(f, c, dtype), b = value_and_gradients(g, c, dtype);
    for (size_t i = 0; i < a.size(); ++i) {
      CAPTURE(i);
      CHECK(identical(a[i], b[i]));
    }
  }
}

}  // namespace

TEST_CASE("conv2d fused with ReLU is ReLU of conv2d, bit for bit, backward too") {
  for (const Case& c : cases) {
    CAPTURE(to_string(c.x));
    check_same_bits(
        [&](auto& x, auto& w, auto& b) { return conv2d(x, w, b, fused(c.stride, c.padding, false)); },
        [&](auto& x, auto& w, auto& b) {
          return relu(conv2d(x, w, b, {c.stride, c.padding}));
        },
        c);
  }
}

TEST_CASE("conv2d fused with ReLU and pooling is the three ops, bit for bit, backward too") {
  // Of few input channels: with more the CPU has an order of its own (cpu/conv2d_pooled.h).
  for (const Case& c : cases) {
    CAPTURE(to_string(c.x));
    check_same_bits(
        [&](auto& x, auto& w, auto& b) { return conv2d(x, w, b, fused(c.stride, c.padding, true)); },
        [&](auto& x, auto& w, auto& b) {
          return max_pool2d(relu(conv2d(x, w, b, {c.stride, c.padding})), {2, 2});
        },
        c);
  }
}

TEST_CASE("conv_norm is convolution, batch norm of inference and what follows, bit for bit, backward too") {
  const Case shapes[] = {
      {{1, 3, 6, 7}, {5, 3, 3, 3}, 1, 1},  // one image, several side by side, each in place
      {{33, 2, 4, 4}, {17, 2, 3, 3}, 1, 1},
      {{9, 4, 16, 16}, {33, 4, 3, 3}, 1, 1},
      {{3, 2, 9, 9}, {4, 2, 1, 1}, 2, 0},
      {{0, 2, 6, 6}, {3, 2, 3, 3}, 1, 0}};
  for (const Case& c : shapes)
    for (const DType dtype : {DType::float32, DType::float64})
      for (const Math math : {Math::fp32, Math::split_bf16, Math::bf16})
        for (const bool beside : {false, true})
          for (const Activation activation : {Activation::none, Activation::relu}) {
            CAPTURE(to_string(c.x));
            const MathScope scope(math);
            const Shape channels{c.weight[0]};
            const Variable w(random_tensor(c.weight, 2, dtype)), b(random_tensor(channels, 3, dtype)),
                gamma(random_tensor(channels, 4, dtype)), beta(random_tensor(channels, 5, dtype));
            Tensor mean = random_tensor(channels, 6, dtype), variance = Tensor::full(channels, 0.7, dtype);
            const BatchNormOptions norm{.training = false, .activation = activation};
            const auto run = [&](bool at_once) {
              const Variable x = Variable::leaf(random_tensor(c.x, 1, dtype)),
                             plain = conv2d(x, w, b, {c.stride, c.padding}),
                             added = Variable::leaf(random_tensor(plain.shape(), 7, dtype)), none;
              const Variable& other = beside ? added : none;
              const Variable y = at_once ? conv_norm(x, w, b, {c.stride, c.padding}, gamma, beta, mean,
                                                     variance, norm, other)
                                         : batch_norm(plain, gamma, beta, mean, variance, norm, {}, other);
              std::vector<Variable> in{x};
              if (beside) in.push_back(added);
              std::vector<Tensor> results = vjp(y, in, random_tensor(y.shape().with(0, 2), 8, dtype));
              results.push_back(y.value());
              results.push_back(at_once ? conv_norm(x.value(), w.value(), b.value(), {c.stride, c.padding},
                                                    gamma.value(), beta.value(), mean, variance, norm,
                                                    beside ? added.value() : Tensor())
                                        : y.value());
              return results;
            };
            const auto once = run(true), apart = run(false);
            for (size_t i = 0; i < once.size(); ++i) CHECK(identical(once[i], apart[i]));
          }
}

TEST_CASE("conv_norm refuses training, and gradients of its constants") {
  const Variable x(Tensor::zeros({2, 3, 5, 5})), w(Tensor::zeros({4, 3, 3, 3})), none;
  const Tensor mean = Tensor::zeros({4}), variance = Tensor::full({4}, 1);
  const auto call = [&](const Variable& weight, const Conv2dOptions& conv, const BatchNormOptions& norm) {
    return conv_norm(x, weight, none, conv, none, none, mean, variance, norm);
  };
  CHECK_NOTHROW(call(w, {}, {.training = false}));
  CHECK_THROWS_AS(call(w, {}, {.training = true}), Error);
  CHECK_THROWS_AS(call(w, fused(1, 0, false), {.training = false}), Error);
  CHECK_THROWS_WITH_AS(call(Variable::leaf(w.value()), {}, {.training = false}),
                       "conv_norm: gradients flow into the image and what is added alone", Error);
  CHECK_THROWS_AS(conv_norm(x, w, none, {}, none, none, mean, variance, {.training = false},
                            Variable(Tensor::zeros({2, 4, 5, 5}))),
                  Error);
}

TEST_CASE("an image's convolution and pooling do not depend on its batch") {
  const Tensor x = random_tensor({7, 3, 9, 9}, 5), w = random_tensor({17, 3, 3, 3}, 6),
               b = random_tensor({17}, 7);
  const Variable weight(w), bias(b);
  check_rows_stand_alone([&](const Variable& v) { return conv2d(v, weight, bias, {1, 1}); }, x);
  check_rows_stand_alone([&](const Variable& v) { return conv2d(v, weight, bias, fused(2, 0, false)); }, x);
  check_rows_stand_alone([&](const Variable& v) { return conv2d(v, weight, bias, fused(1, 1, true)); }, x);
  check_rows_stand_alone([](const Variable& v) { return max_pool2d(v, {3, 2, 1}); }, x);
  check_rows_stand_alone([](const Variable& v) { return avg_pool2d(v, {3, 2, 1}); }, x);
  check_rows_stand_alone([](const Variable& v) { return global_avg_pool(v); }, x);
}

TEST_CASE("conv2d accepts views") {
  const Tensor x = random_tensor({4, 5, 2, 3}, 8), w = random_tensor({3, 2, 2, 3}, 9);
  const Tensor x_view = x.permute({3, 2, 0, 1}),
               w_view = w.transpose(0, 3).slice(0, 1, 3);  // [3,2,4,5], [2,2,2,3]
  CHECK(identical(conv2d(x_view, w_view), conv2d(x_view.contiguous(), w_view.contiguous())));
}

TEST_CASE("conv2d saves and computes what its gradients need, nothing else") {
  const Tensor x = random_tensor({2, 3, 6, 6}, 1), w = random_tensor({4, 3, 3, 3}, 2),
               b = random_tensor({4}, 3);
  const auto after_forward = [&](Needs needs) {
    Conv2d op{fused(1, 1, true)};
    op.forward(needs, x, w, b);
    return op;
  };
  const Conv2d nothing = after_forward(0b000), attack = after_forward(0b001), training = after_forward(0b110);
  CHECK(!nothing.output.defined());
  CHECK(!nothing.argmax.defined());
  CHECK(!attack.x.defined());
  CHECK(attack.weight.defined());
  CHECK(training.x.defined());
  CHECK(!training.weight.defined());
  const Tensor dy = random_tensor({2, 4, 3, 3}, 4);
  const Gradients<3> only_input = attack.backward(0b001, dy, 1),
                     only_parameters = training.backward(0b110, dy, 1);
  CHECK(only_input[0].defined());
  CHECK(!only_input[1].defined());
  CHECK(!only_input[2].defined());
  CHECK(!only_parameters[0].defined());
  CHECK(only_parameters[1].defined());
  CHECK(only_parameters[2].defined());
  CHECK(identical(training.backward(0b100, dy, 1)[2], only_parameters[2]));
}

TEST_CASE(
    "conv2d saves a mask of its ReLU where nobody wants the gradient of its weights, with the same bits") {
  for (const Case& c : cases)
    for (const DType dtype : {DType::float32, DType::float64}) {
      CAPTURE(to_string(c.x));
      Tensor x = random_tensor(c.x, 1, dtype);
      const Tensor w = random_tensor(c.weight, 2, dtype), none;
      if (x.numel() > 0)
        x.slice(0, 0, 1).slice(1, 0, 1).slice(2, 0, 1).slice(3, 0, 1).copy_from(
            Tensor::full({1, 1, 1, 1}, NAN, dtype));
      Conv2d attack{fused(c.stride, c.padding, false)}, training = attack;
      const Tensor y = attack.forward(0b001, x, w, none);
      training.forward(0b111, x, w, none);
      CHECK((!attack.output.defined() && attack.mask.numel() == cpu::relu_mask_bytes(y.numel())));
      CHECK((training.output.defined() && !training.mask.defined()));
      constexpr int64_t copies = 3;
      const Tensor dy = random_tensor(y.shape().with(0, copies * y.size(0)), 3, dtype);
      CHECK(identical(attack.backward(0b001, dy, copies)[0], training.backward(0b001, dy, copies)[0]));
      Conv2d only_bias{fused(c.stride, c.padding, false)};
      only_bias.forward(0b100, x, w, none);
      CHECK(only_bias.mask.defined());
      CHECK(identical(only_bias.backward(0b100, dy, copies)[2], training.backward(0b100, dy, copies)[2]));
    }
}

TEST_CASE("conv2d refuses what does not fit, and says what would") {
  const Tensor x = Tensor::zeros({1, 3, 5, 5}), w = Tensor::zeros({2, 3, 3, 3});
  CHECK_THROWS_WITH_AS(conv2d(Tensor::zeros({3, 5, 5}), w), "conv2d: x of shape [3,5,5], [N,C,H,W] expected",
                       Error);
  CHECK_THROWS_WITH_AS(conv2d(x, Tensor::zeros({2, 1, 3, 3})),
                       "conv2d: weight of shape [2,1,3,3] for x of shape [1,3,5,5], [O,3,kh,kw] expected",
                       Error);
  CHECK_THROWS_AS(conv2d(x, w, Tensor::zeros({3})), Error);
  CHECK_THROWS_WITH_AS(conv2d(x, w, Tensor::zeros({2}, DType::float64)),
                       "conv2d: x is float32, weight float32, bias float64: one type expected", Error);
  CHECK_THROWS_AS(conv2d(x, Tensor::zeros({2, 3, 3, 3}, DType::float64)), Error);
  CHECK_THROWS_AS(conv2d(x, Tensor::zeros({2, 3, 7, 7})), Error);
  CHECK_THROWS_AS(conv2d(x, w, {}, {0, 0}), Error);
  CHECK_THROWS_AS(conv2d(x, w, {}, {1, -1}), Error);
  CHECK_THROWS_AS(conv2d(x, w, {}, {1, 0, Activation::none, true}), Error);
  CHECK_THROWS_AS(conv2d(x, Tensor::zeros({2, 3, 5, 5}), {}, fused(1, 0, true)), Error);  // 1x1 left to pool
}

TEST_CASE("max pooling sends the gradient to the first maximum, and lets NaN through") {
  const Result ties = run(
      [](const Variable& x) {
        return max_pool2d(x, {2, 2});
      },
      Tensor::of<float>({1, 1, 0, 2, 1, 1, 2, 2}, {1, 1, 2, 4}));
  CHECK(ties.value.to_vector<float>() == std::vector<float>{1, 2});
  CHECK(ties.gradient.to_vector<float>() == std::vector<float>{1, 0, 0, 1, 0, 0, 0, 0});
  const Tensor with_nan = max_pool2d(Tensor::of<float>({1, NAN, 3, 2}, {1, 1, 2, 2}), {2, 2});
  CHECK(std::isnan(with_nan.data<float>()[0]));
}

TEST_CASE("average pooling counts padded zeros") {
  const Tensor y = avg_pool2d(Tensor::full({1, 1, 2, 2}, 9), {3, 1, 1});
  CHECK(y.to_vector<float>() == std::vector<float>{4, 4, 4, 4});
  CHECK(global_avg_pool(Tensor::of<float>({1, 2, 3, 6}, {1, 1, 2, 2})).item() == 3);
}

TEST_CASE("pooling refuses windows that do not fit") {
  const Tensor x = Tensor::zeros({1, 1, 2, 2});
  CHECK_THROWS_AS(max_pool2d(x, {3, 1}), Error);
  CHECK_THROWS_AS(max_pool2d(x, {2, 0}), Error);
  CHECK_THROWS_AS(avg_pool2d(x, {2, 2, 2}), Error);
  CHECK_THROWS_WITH_AS(global_avg_pool(Tensor::zeros({1, 1, 0, 2})),
                       "global_avg_pool: x of shape [1,1,0,2], [N,C,H,W] with pixels expected", Error);
  CHECK_THROWS_WITH_AS(max_pool2d(Tensor::zeros({2, 2}), {1, 1}),
                       "max_pool2d: x of shape [2,2], [N,C,H,W] expected", Error);
}

TEST_CASE("batch_norm in training normalises by the batch and moves the running statistics") {
  Tensor mean = Tensor::zeros({2}, DType::float64), var = Tensor::full({2}, 1, DType::float64);
  const Tensor x = Tensor::of<double>({1, 10, 3, 10, 5, 10, 7, 50}, {4, 2});
  const Tensor gamma = Tensor::of<double>({2, 1}, {2}), beta = Tensor::of<double>({0.5, 0}, {2});
  const Tensor y = batch_norm(x, gamma, beta, mean, var, {true, 0.1, 1e-5});
  CHECK(y.data<double>()[0] == doctest::Approx(0.5 - 2 * 3 / std::sqrt(5 + 1e-5)).epsilon(1e-12));
  CHECK(y.data<double>()[7] == doctest::Approx(30 / std::sqrt(300 + 1e-5)).epsilon(1e-12));
  CHECK(mean.to_vector<double>()[0] == doctest::Approx(0.4));
  CHECK(mean.to_vector<double>()[1] == doctest::Approx(2));
  CHECK(var.to_vector<double>()[0] == doctest::Approx(0.9 + 0.1 * 20 / 3));  // unbiased
  CHECK(var.to_vector<double>()[1] == doctest::Approx(0.9 + 0.1 * 400));
}

TEST_CASE("batch_norm in inference treats each row alone and leaves the running statistics") {
  Tensor mean = random_tensor({3}, 1), var = Tensor::full({3}, 2);
  const Tensor before_mean = mean.clone(), before_var = var.clone();
  const Variable gamma(random_tensor({3}, 2)), beta(random_tensor({3}, 3));
  check_rows_stand_alone([&](const Variable& x) { return batch_norm(x, gamma, beta, mean, var, {false}); },
                         random_tensor({5, 3, 4, 3}, 4));
  CHECK(identical(mean, before_mean));
  CHECK(identical(var, before_var));
}

namespace {

/// Value, all gradients for three cotangents at once, and running statistics of batch norm with what may
/// follow it, as one op or as several. Inputs: x, gamma, beta, added.
std::vector<Tensor> normalised(const std::vector<Variable>& in, bool training, bool add, bool with_relu,
                               bool fuse) {
  const DType dtype = in[0].dtype();
  Tensor mean = random_tensor({in[0].size(1)}, 5, dtype), var = Tensor::full({in[0].size(1)}, 0.5, dtype);
  const Activation activation = fuse && with_relu ? Activation::relu : Activation::none;
  Variable y = batch_norm(in[0], in[1], in[2], mean, var, {.training = training, .activation = activation},
                          {}, fuse && add ? in[3] : Variable());
  if (!fuse && add) y = y + in[3];
  if (!fuse && with_relu) y = relu(y);
  std::vector<Variable> wanted;
  for (const Variable& v : in)
    if (v.requires_grad()) wanted.push_back(v);
  const Tensor dy = random_tensor(y.shape().with(0, 3), 6, dtype);
  std::vector<Tensor> results = vjp(y, wanted, dy, true);
  const std::vector<Tensor> own = vjp(y * 1, wanted, dy);  // of a cotangent that nobody else holds
  results.insert(results.end(), own.begin(), own.end());
  results.insert(results.end(), {y.value(), mean, var});
  return results;
}

}  // namespace

TEST_CASE("batch_norm fused with an addition and ReLU is the ops one by one, bit for bit, backward too") {
  for (const Shape& shape : {Shape{5, 3, 4, 7}, {17, 5}, {2, 2, 1, 2}})
    for (const DType dtype : {DType::float32, DType::float64})
      for (int wanted = 1; wanted < 16; ++wanted)  // which inputs have gradients, a bit each
        for (const bool training : {false, true})
          for (const auto& [add, with_relu] : {std::pair{false, true}, {true, false}, {true, true}}) {
            if (!add && wanted >= 8) continue;
            CAPTURE(wanted);
            CAPTURE(training);
            CAPTURE(add);
            std::vector<Variable> in;
            for (const Shape& s : {shape, Shape{shape[1]}, Shape{shape[1]}, shape}) {
              const Tensor value = random_tensor(s, in.size() + 1, dtype);
              in.push_back(wanted >> in.size() & 1 ? Variable::leaf(value) : Variable(value));
            }
            const auto fused = normalised(in, training, add, with_relu, true),
                       parts = normalised(in, training, add, with_relu, false);
            for (size_t i = 0; i < fused.size(); ++i) CHECK(identical(fused[i], parts[i]));
          }
}

TEST_CASE(
    "the gradients of inference are those of its statistics, whatever becomes of them before backward") {
  for (const bool conv : {false, true}) {
    Tensor mean = random_tensor({3}, 1), var = Tensor::full({3}, 2);
    const auto gradients = [&](bool change) {
      const Variable x = Variable::leaf(random_tensor({5, 3, 4, 4}, 2)), none,
                     gamma = Variable::leaf(random_tensor({3}, 3));
      const BatchNormOptions options{.training = false};
      const Variable y = conv ? conv_norm(x, Variable(random_tensor({3, 3, 1, 1}, 4)), none, {}, none, none,
                                          mean, var, options)
                              : batch_norm(x, gamma, none, mean, var, options);
      if (change) mean.copy_from(mean * 2), var.copy_from(var * 2);
      return vjp(y, conv ? std::vector{x} : std::vector{x, gamma}, random_tensor({1, 5, 3, 4, 4}, 5));
    };
    const auto want = gradients(false), got = gradients(true);
    for (size_t i = 0; i < want.size(); ++i) CHECK(identical(want[i], got[i]));
  }
}

TEST_CASE("batch_norm fused with ReLU treats zeros and NaN as ReLU does") {
  // With mean 0, variance 1 - eps and these x, y is 0, -0, NaN, -1, 1 in front of the ReLU.
  Tensor mean = Tensor::zeros({1}, DType::float64), var = Tensor::full({1}, 1 - 1e-5, DType::float64);
  const Tensor x = Tensor::of<double>({0, -0.0, NAN, -1, 1}, {5, 1}), none,
               negative_zero = Tensor::full({5, 1}, -0.0, DType::float64),
               dy = Tensor::of<double>({3, 4, 5, 6, 7}, {1, 5, 1});
  for (const Tensor& added : {none, negative_zero}) {
    const BatchNormOptions options{.training = false, .eps = 1e-5, .activation = Activation::relu};
    const Variable leaf = Variable::leaf(x), beta = Variable::leaf(Tensor::full({1}, -0.0, DType::float64));
    for (const bool parameters : {false, true}) {  // the ReLU's gradient by its output, and by x
      const Variable y = batch_norm(leaf, Variable(none), parameters ? beta : Variable(beta.value()), mean,
                                    var, options, {}, Variable(added));
      const std::vector<double> value = y.value().to_vector<double>(),
                                dx = vjp(y, {leaf}, dy)[0].to_vector<double>();
      CHECK(value[0] == 0);
      CHECK(std::signbit(value[1]));
      CHECK(std::isnan(value[2]));
      CHECK(value[3] == 0);
      CHECK(value[4] == 1);
      CHECK(dx == std::vector<double>{0, 0, 5, 0, 7});
    }
  }
}

TEST_CASE("batch_norm leaves no gradient where another one, or the caller, holds the cotangent") {
  const Tensor at = random_tensor({3, 2, 2, 3}, 1), none, dy = random_tensor({1, 3, 2, 2, 3}, 2),
               before = dy.clone();
  for (const bool training : {false, true}) {
    Tensor mean = Tensor::zeros({2}), var = Tensor::full({2}, 1);
    const BatchNormOptions options{.training = training, .activation = Activation::relu};
    const Variable x = Variable::leaf(at), beside = Variable::leaf(at);
    const Variable y = batch_norm(x, Variable(none), Variable(none), mean, var, options), z = y + beside;
    CHECK(identical(vjp(z, {x, beside}, dy, true)[1], dy));  // the sum hands its cotangent to both sides
    CHECK(identical(dy, before));
    const Tensor alone = vjp(y, {x}, dy, true)[0];
    CHECK(identical(dy, before));
    CHECK(identical(alone, vjp(z * 1.0, {x}, dy)[0]));
  }
}

TEST_CASE("batch_norm saves what its gradients need, nothing else") {
  const Tensor x = random_tensor({4, 3, 5, 5}, 1), gamma = random_tensor({3}, 2),
               beta = random_tensor({3}, 3), added = random_tensor({4, 3, 5, 5}, 4);
  const auto after_forward = [&](Needs needs, bool training, const Tensor& what_is_added) {
    BatchNorm op{Tensor::zeros({3}), Tensor::full({3}, 1), {}, {training}};
    op.options.activation = Activation::relu;
    op.forward(needs, x, gamma, beta, what_is_added);
    return op;
  };
  for (const bool training : {false, true}) {
    const BatchNorm nothing = after_forward(0b0000, training, {}), all = after_forward(0b0111, training, {}),
                    added_too = after_forward(0b1111, training, added),
                    only_added = after_forward(0b1000, training, added),
                    attack = after_forward(0b0001, training, {});
    CHECK((!nothing.x.defined() && !nothing.output.defined() && !nothing.beta.defined()));
    CHECK((all.x.defined() && !all.output.defined()));
    CHECK((added_too.x.defined() && added_too.output.defined()));
    CHECK((!only_added.x.defined() && !only_added.output.defined() && only_added.mask.defined()));
    CHECK(attack.x.defined() == training);
    CHECK((!attack.output.defined() && attack.mask.defined() == !training));
  }
}

TEST_CASE("batch_norm refuses one value per channel in training and statistics of the wrong shape") {
  Tensor mean = Tensor::zeros({3}), var = Tensor::full({3}, 1), undefined;
  const Tensor one_row = Tensor::zeros({1, 3}), none;
  CHECK_THROWS_AS(batch_norm(one_row, none, none, mean, var, {true}), Error);
  CHECK_NOTHROW(batch_norm(one_row, none, none, mean, var, {false}));
  CHECK_THROWS_AS(batch_norm(Tensor::zeros({2, 4}), none, none, mean, var, {false}), Error);
  CHECK_THROWS_AS(batch_norm(one_row, Tensor::zeros({2}), none, mean, var, {false}), Error);
  CHECK_THROWS_AS(batch_norm(one_row, none, none, undefined, undefined, {false}), Error);
  CHECK_THROWS_AS(batch_norm(one_row, none, none, mean, var, {false}, {}, Tensor::zeros({3})), Error);
  const auto error = [&](const Tensor& x, const Tensor& gamma, const BatchNormOptions& options,
                         const Tensor& added) {
    return error_of([&] { batch_norm(x, gamma, none, mean, var, options, {}, added); });
  };
  const BatchNormOptions inference{.training = false};
  CHECK(error(Tensor::zeros({2, 3, 4}), none, inference, none) ==
        "batch_norm: x of shape [2,3,4], [N,C,H,W] or [N,C] expected");
  CHECK(error(one_row, Tensor::zeros({3}, DType::float64), inference, none) ==
        "batch_norm: float64 of shape [3] for x of shape [1,3], float32 [3] without gaps expected");
  CHECK(error(one_row, Tensor::zeros({1}).expand({3}), inference, none) ==
        "batch_norm: float32 of shape [3] for x of shape [1,3], float32 [3] without gaps expected");
  CHECK(error(one_row, none, inference, Tensor::zeros({1, 3}, DType::float64)) ==
        "batch_norm: float64 of shape [1,3] is to be added to float32 of shape [1,3], the same expected");
  for (const BatchNormOptions& options : {BatchNormOptions{false, 0.1, 0}, {false, -0.1}, {false, 1.1}})
    CHECK(error(one_row, none, options, none).starts_with("batch_norm: eps "));
}
