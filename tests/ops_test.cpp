// Every registered op, through its row: whoever adds a row has added these tests.
#include <doctest/doctest.h>

#include "autograd/gradcheck.h"
#include "autograd/op_info.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/dropout.h"
#include "autograd/ops/linear.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/pointwise.h"
#include "autograd/ops/reduce.h"
#include "autograd/ops/view.h"
#include "core/parallel.h"
#include "tests/documents.h"
#include "tests/engines_testing.h"
#include "tests/error_of.h"
#include "tests/ops_testing.h"

namespace hashgrad {
namespace {

using testing::constants;
using testing::for_each_sample;
using testing::leaves;
using testing::results;

void check_same_bits(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  REQUIRE(a.size() == b.size());
  for (size_t i = 0; i < a.size(); ++i) CHECK(identical(a[i], b[i]));
}

/// The same elements with the axes laid out in reverse order, so that nothing about it is contiguous.
Tensor reversed_layout(const Tensor& x) {
  std::vector<int> axes;
  for (int i = x.rank(); i-- > 0;) axes.push_back(i);
  return x.permute(axes).clone().permute(axes);
}

TEST_CASE("every op's gradient agrees with central differences") {
  CHECK(all_ops().size() >= 40);
  for_each_sample([](const OpInfo& op, const std::vector<Shape>& shapes) {
    if (!op.no_gradient.empty()) return;
    const bool empty =
        std::any_of(shapes.begin(), shapes.end(), [](const Shape& s) { return s.numel() == 0; });
    const GradcheckResult r = gradcheck(op.call, sample_inputs(shapes, op.domain, 1),
                                        {.tolerance = op.tolerance, .zero_expected = empty});
    INFO(r.message);
    CHECK(r.ok);
  });
}

TEST_CASE("every op computes in float32 what it computes in float64") {
  for_each_sample([](const OpInfo& op, const std::vector<Shape>& shapes) {
    const std::vector<Tensor> single = sample_inputs(shapes, op.domain, 1, DType::float32);
    std::vector<Tensor> twice;
    for (const Tensor& x : single) twice.push_back(x.to(DType::float64));
    const std::vector<Tensor> a = results(op, single), b = results(op, twice);
    REQUIRE(a.size() == b.size());
    for (size_t i = 0; i < a.size(); ++i) {
      CHECK(a[i].dtype() == (b[i].dtype() == DType::float64 ? DType::float32 : b[i].dtype()));
      CHECK(testing::difference(a[i], b[i]) < 2e-5);
    }
  });
}

TEST_CASE("every op writes every element of its results and none of its inputs") {
  for_each_sample([](const OpInfo& op, const std::vector<Shape>& shapes) {
    for (const DType type : {DType::float32, DType::float64}) {
      const std::vector<Tensor> inputs = sample_inputs(shapes, op.domain, 1, type);
      std::vector<Tensor> before;
      for (const Tensor& x : inputs) before.push_back(x.clone());
      const std::vector<Tensor> clean = results(op, inputs);
      const bool was = poison_new_memory(true);
      const std::vector<Tensor> poisoned = results(op, inputs);
      poison_new_memory(was);
      check_same_bits(clean, poisoned);
      check_same_bits(before, inputs);
    }
  });
}

TEST_CASE("every op gives the same bits on views as on contiguous tensors") {
  for_each_sample([](const OpInfo& op, const std::vector<Shape>& shapes) {
    const std::vector<Tensor> inputs = sample_inputs(shapes, op.domain, 1, DType::float32);
    std::vector<Tensor> views;
    for (const Tensor& x : inputs) views.push_back(reversed_layout(x));
    check_same_bits(results(op, inputs), results(op, views));
  });
}

TEST_CASE("every op gives the same bits with any number of threads") {
  const int before = threads();
  for_each_sample([](const OpInfo& op, const std::vector<Shape>& shapes) {
    const std::vector<Tensor> inputs = sample_inputs(shapes, op.domain, 1, DType::float32);
    set_threads(1);
    const std::vector<Tensor> one = results(op, inputs);
    set_threads(3);
    check_same_bits(one, results(op, inputs));
  });
  set_threads(before);
}

TEST_CASE("every op records nothing on constants and computes the same") {
  for_each_sample([](const OpInfo& op, const std::vector<Shape>& shapes) {
    const std::vector<Tensor> inputs = sample_inputs(shapes, op.domain, 1, DType::float32);
    const Variable y = op.call(constants(inputs));
    CHECK_FALSE(y.requires_grad());
    if (op.no_gradient.empty()) CHECK(identical(y.value(), op.call(leaves(inputs)).value()));
  });
}

TEST_CASE("every op computes only the gradients that are wanted") {
  for_each_sample([](const OpInfo& op, const std::vector<Shape>& shapes) {
    if (!op.no_gradient.empty() || shapes.size() < 2) return;
    const std::vector<Tensor> inputs = sample_inputs(shapes, op.domain, 1, DType::float32);
    const std::vector<Tensor> all = results(op, inputs);
    for (size_t i = 0; i < inputs.size(); ++i) {
      std::vector<Variable> x = constants(inputs);
      x[i] = Variable::leaf(inputs[i]);
      const Variable y = op.call(x);
      const Tensor dy = sample_inputs({y.shape().with(0, 1)}, OpInfo::Domain::unit, 5, y.dtype())[0];
      CHECK(identical(vjp(y, {x[i]}, dy)[0], all[i]));
    }
  });
}

TEST_CASE("a row without samples, or of a name that there is already, is refused") {
  const OpInfo add =
      *std::find_if(all_ops().begin(), all_ops().end(), [](auto& o) { return o.name == "add"; });
  CHECK_ERROR(RegisterOp{add}, "op 'add' is registered twice");
  OpInfo empty = add;
  empty.name = "no_samples", empty.samples = {};
  CHECK_ERROR(RegisterOp{empty}, "op 'no_samples': its row has no samples");
}

/// "yes" when `device` computes the op and its gradients, else why not.
std::string support(const OpInfo& op, Device device) {
  std::vector<Tensor> inputs = sample_inputs(op.samples[0], op.domain, 1, DType::float32);
  for (Tensor& x : inputs) x = x.to(device);
  try {
    static_cast<void>(results(op, inputs));
  } catch (const Error& error) {
    return fmt::format("no: {}", error.what());
  }
  return "yes";
}

TEST_CASE("docs/ops.md is the table of the registered ops") {
  const Device emu{Device::Kind::emu}, cuda{Device::Kind::cuda};
  if (!is_available(emu)) return;
  std::string table = R"(# Ops

Every op with its formula, and the engines that compute it. Headers of `autograd/ops/` declare them by family: `arithmetic.h` (two
operands; numbers beside tensors), `pointwise.h` (one), `reduce.h` (sums, means, extremes), `view.h` (reshape to pad), `matmul.h`,
`linear.h`, `conv2d.h`, `pool2d.h`, `batch_norm.h`, `conv_norm.h`, `hashed.h`, `dropout.h`, `fixed_point.h`, `softmax.h`, `loss.h` (a loss
for each row: take `mean` or `sum`); transforms of images are those of `nn/input_transform.h`. All take and return Tensors or, to be
differentiated, Variables; `argmax` and the steps (`sign`, `floor`, `ceil`, `round`) take Tensors alone. A row that is not called as a
function is one under other settings. A gradient marked with a number is checked against central
differences in float64 to that relative error, on every sample of the op's row in `all_ops()`. An engine marked `yes` computes
the op and, where it has one, its gradient; `no` would be followed by the Error that it ends in. CUDA and the emulator are one
source, compiled twice: where there is no GPU, the CUDA column is that of the emulator, and where there is one, it is tried.
How far their numbers are apart is in [parity.md](parity.md). The tests compare this file with the ops, and write it when the
environment variable `HASHGRAD_WRITE_DOCS` is set.

| op | formula | gradient | cpu | emulated | CUDA |
|---|---|---|---|---|---|
)";
  for (const OpInfo& op : all_ops()) {
    std::string formula = op.formula;
    for (size_t i = 0; (i = formula.find('|', i)) != std::string::npos; i += 2) formula.insert(i, 1, '\\');
    const std::string emulated = support(op, emu);
    table += fmt::format("| `{}` | {} | {} | {} | {} | {} |\n", op.name, formula,
                         op.no_gradient.empty() ? fmt::format("{:.0e}", op.tolerance)
                                                : fmt::format("none: {}", op.no_gradient),
                         support(op, Device{}), emulated, is_available(cuda) ? support(op, cuda) : emulated);
  }
  testing::check_document("docs/ops.md", table);
}

TEST_CASE("shapes and types that do not fit are refused with both named") {
  const Tensor a = Tensor::zeros({2, 3}), b = Tensor::zeros({4, 3}),
               d = Tensor::zeros({2, 3}, DType::float64);
  CHECK_ERROR(a + b, "shapes [2,3] and [4,3] do not broadcast");
  CHECK_ERROR(a * d, "float32 and float64");
  CHECK_ERROR(matmul(a, b), "shapes [2,3] and [4,3]");
  CHECK_ERROR(matmul(a, d.transpose(0, 1)), "float32 and float64");
  CHECK_ERROR(matmul(a, Tensor::zeros({3})), "matmul");
  CHECK_ERROR(matmul(Tensor::zeros({2, 3, 4}), Tensor::zeros({3, 4, 5})), "shapes [2,3,4] and [3,4,5]");
  CHECK_ERROR(linear(a, Tensor::zeros({5, 4})), "x of shape [2,3] and weight of shape [5,4]");
  CHECK_ERROR(linear(a, b, Tensor::zeros({5})), "bias of shape [5], [4] expected");
  CHECK_ERROR(linear(a, b.to(DType::float64)), "weight float64");
  CHECK_ERROR(linear(a, b, Tensor::zeros({4}, DType::float64)), "weight float32, bias float64");
  CHECK_ERROR(reshape(a, {4, -1}), "do not divide by 4");
  CHECK_ERROR(reshape(a, {7}), "do not fit [7]");
  CHECK_ERROR(slice(a, 1, 2, 4), "[2, 4) is not within axis 1 of [2,3]");
  CHECK_ERROR(concat(std::vector<Tensor>{a, b}, 1), "differ in more than axis 1");
  CHECK_ERROR(concat(std::vector<Tensor>{a, d}, 1), "float32 and float64");
  CHECK_ERROR(concat(std::vector<Tensor>{}, 0), "no inputs");
  CHECK_ERROR(pad(a, {{1, 1}}), "1 pairs given for shape [2,3]");
  CHECK_ERROR(pad(a, {{-1, 1}, {0, 0}}), "-1 before");
  CHECK_ERROR(pad(a, {{1, -1}, {0, 0}}), "-1 after");
  constexpr int64_t huge = int64_t{1} << 62;  // twice would overflow
  for (const Padding& padding : {Padding{{huge, 0}, {0, 0}}, {{0, huge}, {0, 0}}})
    CHECK_ERROR(pad(a, padding), "0 to 2^40 expected");
  CHECK_ERROR(expand(a, {2, 4}), "[2,3] does not stretch to [2,4]");
  CHECK_ERROR(sum(a, 2), "no axis 2 in [2,3]");
  CHECK_ERROR(sum_to(a, {2}, 1), "[2,3] does not sum to [2]");
  CHECK_ERROR(max(Tensor::zeros({2, 0}), 1), "has no elements");
  CHECK_ERROR(mean(Tensor::zeros({0})), "has no elements");
  CHECK_ERROR(clamp(a, 2, 1), "[2, 1] is empty");
  CHECK(clamp(a, 2, 2).to_vector<float>() == std::vector<float>(6, 2));
  CHECK_ERROR(exp(Tensor::zeros({2}, DType::int64)), "exp: computes on float32 or float64, not on int64");
}

TEST_CASE("kinks and ties have the documented gradients") {
  const auto slope = [](auto f, double at) {
    const Variable x = Variable::leaf(Tensor::scalar(at, DType::float64));
    return grad(f(x), {x})[0].item();
  };
  CHECK(slope([](auto& x) { return relu(x); }, 0) == 0);
  CHECK(slope([](auto& x) { return abs(x); }, 0) == 0);
  CHECK(slope([](auto& x) { return clamp(x, 0, 1); }, 0) == 1);
  CHECK(slope([](auto& x) { return clamp(x, 0, 1); }, 1.5) == 0);
  const Variable x = Variable::leaf(Tensor::of<double>({1, 3, 3, 2}, {1, 4}));
  CHECK(grad(sum(max(x, 1)), {x})[0].to_vector<double>() == std::vector<double>{0, 1, 0, 0});
  CHECK(argmax(x.value(), 1).to_vector<int64_t>() == std::vector<int64_t>{1});
  const Variable a = Variable::leaf(Tensor::scalar(2)), b = Variable::leaf(Tensor::scalar(2));
  const std::vector<Tensor> g = grad(maximum(a, b) + minimum(a, b), {a, b});
  CHECK(g[0].item() == 2);
  CHECK(g[1].item() == 0);
}

TEST_CASE("a NaN that comes in comes out") {
  const Tensor x = Tensor::of<float>({NAN, 1}, {2}), one = Tensor::full({2}, 1);
  for (const Tensor& y : {relu(x), leaky_relu(x), clamp(x, 0, 1), maximum(x, one), maximum(one, x),
                          minimum(x, one), minimum(one, x), sign(x), abs(x), sigmoid(x)}) {
    CHECK(std::isnan(y.data<float>()[0]));
    CHECK_FALSE(std::isnan(y.data<float>()[1]));
  }
  CHECK(std::isnan(max(x, 0).item()));
  CHECK(argmax(Tensor::of<float>({1, NAN, 2, NAN}, {4}), 0).to_vector<int64_t>() == std::vector<int64_t>{1});
  CHECK(std::isnan(sum(x).item()));
}

TEST_CASE("a sum over a large tensor loses no precision and depends on no thread") {
  const Tensor x = Tensor::full({3, 1 << 20}, 0.1);
  const double each = static_cast<double>(0.1f);
  CHECK(sum(x).item() == doctest::Approx(3 * (1 << 20) * each).epsilon(1e-7));
  CHECK(sum(x, 1).to_vector<float>()[2] == doctest::Approx((1 << 20) * each).epsilon(1e-7));
  CHECK(sum(x, 0).to_vector<float>()[77] == doctest::Approx(3 * each).epsilon(1e-7));
}

TEST_CASE("a row of a linear layer does not depend on its batch") {
  const std::vector<Tensor> in =
      sample_inputs({{33, 129}, {17, 129}, {17}}, OpInfo::Domain::real, 1, DType::float32);
  const Tensor y = linear(in[0], in[1], in[2], Activation::relu);
  for (const int64_t n : {0, 7, 32})
    CHECK(identical(linear(in[0].slice(0, n, n + 1), in[1], in[2], Activation::relu), y.slice(0, n, n + 1)));
}

TEST_CASE("a dropout mask depends on seed, layer, step and sample, not on the batch") {
  const Tensor x = Tensor::full({3, 1000}, 1);
  const auto key_of = [](uint64_t seed, uint32_t layer, int64_t step, const std::vector<int64_t>& samples) {
    return RowKey{seed, layer, Tensor::of<int64_t>({step}, {1}), Tensor::of(samples, {std::ssize(samples)})};
  };
  const RowKey key = key_of(1, 2, 3, {10, 20, 30});
  const Tensor y = dropout(x, 0.25, key);
  const Tensor alone = dropout(x.slice(0, 0, 1), 0.25, key_of(1, 2, 3, {20}));
  CHECK(identical(y.slice(0, 1, 2), alone));
  for (const RowKey& other : {key_of(9, 2, 3, {20}), key_of(uint64_t{1} << 32 | 1, 2, 3, {20}),
                              key_of(1, 9, 3, {20}), key_of(1, 2, 9, {20}), key_of(1, 2, 3, {9})})
    CHECK_FALSE(identical(dropout(x.slice(0, 0, 1), 0.25, other), alone));
  int64_t dropped = 0;
  for (const float v : y.to_vector<float>()) {
    CHECK((v == 0 || v == static_cast<float>(1 / 0.75)));
    dropped += v == 0;
  }
  CHECK(dropped > 650);  // 750 expected, standard deviation 24
  CHECK(dropped < 850);
  CHECK(identical(dropout(x, 0, key), x));
  CHECK_ERROR(dropout(x, 1, key), "probability 1, [0, 1) expected");
  CHECK_ERROR(dropout(x, -0.1, key), "probability -0.1, [0, 1) expected");
  CHECK_ERROR(dropout(Tensor::scalar(1), 0.5, key), "x of shape [], [N,...] expected");
  CHECK_ERROR(dropout(x, 0.5, key_of(1, 2, 3, {10})), "sample number is int64 [1], int64 [3] expected");
  CHECK_ERROR(dropout(x, 0.5, key_of(1, 2, 3, {10, -1, 2})),
              "sample number -1, 0 to 281474976710655 expected");
  CHECK_ERROR(dropout(x, 0.5, key_of(1, 2, int64_t{1} << 32, {1, 2, 3})), "step 4294967296, 0 to 4294967295");
  CHECK_ERROR(dropout(x, 0.5, RowKey{1, 2, {}, key.samples}), "step is ");
}

TEST_CASE("matmul reads transposed views, slices and vectors as they lie") {
  const Tensor a = Tensor::of<double>({1, 2, 3, 4, 5, 6}, {2, 3}),
               b = Tensor::of<double>({1, 0, 2, 1, -1, 3}, {3, 2});
  const std::vector<double> product{2, 11, 8, 23};
  CHECK(matmul(a, b).to_vector<double>() == product);
  CHECK(matmul(reversed_layout(a), reversed_layout(b)).to_vector<double>() == product);
  CHECK(matmul(b.transpose(0, 1), a.transpose(0, 1)).to_vector<double>() ==
        std::vector<double>{2, 8, 11, 23});
  CHECK(matmul(a.slice(1, 1, 3), b.slice(0, 1, 3)).to_vector<double>() == std::vector<double>{1, 11, 4, 23});
  CHECK(matmul(a.slice(0, 1, 2), b.slice(1, 1, 2)).to_vector<double>() == std::vector<double>{23});
  CHECK(matmul(Tensor::full({1, 1}, 2, DType::float64).expand({2, 3}), b).to_vector<double>() ==
        std::vector<double>{4, 8, 4, 8});
  CHECK(matmul(Tensor::of<double>({2, 3}, {2, 1}).expand({2, 3}), b).to_vector<double>() ==
        std::vector<double>{4, 8, 6, 12});
}

}  // namespace
}  // namespace hashgrad
