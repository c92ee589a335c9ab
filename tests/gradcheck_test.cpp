// The gradient check must find the mistakes it is there for: each op below is wrong in its own way.
#include "autograd/gradcheck.h"

#include <doctest/doctest.h>

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/pointwise.h"
#include "autograd/ops/reduce.h"
#include "tests/error_of.h"

namespace hashgrad {
namespace {

enum class Fault { none, factor, unwritten, zero, accumulates, wrong_stack, one_element, sign };

/// y = x^2 with a fault in backward.
template <Fault fault>
struct Square {
  static constexpr const char* name = "faulty_square";
  Tensor x;
  Tensor forward(Needs, const Tensor& in) {
    x = in;
    return square(in);
  }
  Gradients<1> backward(Needs, const Tensor& dy, int64_t copies) const {
    Tensor dx = Tensor::empty(stacked(x.shape(), copies), DType::float64);
    const int64_t n = x.numel(), written = fault == Fault::unwritten ? copies * n - 1 : copies * n;
    for (int64_t i = 0; i < written; ++i) {
      const int64_t cotangent = fault == Fault::wrong_stack ? (i % n) * copies + i / n : i;
      dx.data<double>()[i] = 2 * x.data<double>()[i % n] * dy.data<double>()[cotangent];
    }
    if (fault == Fault::factor) return {dx * 1.001};
    if (fault == Fault::sign) return {neg(dx)};
    if (fault == Fault::zero) return {dx * 0};
    if (fault == Fault::one_element) dx.data<double>()[n - 1] += 1e-3;
    if (fault == Fault::accumulates) Tensor(dy).copy_from(dy * 2);
    return {dx};
  }
};

template <Fault fault>
GradcheckResult result() {
  return gradcheck([](const auto& x) { return apply(Square<fault>{}, x[0]); },
                   sample_inputs({{3, 5}}, OpInfo::Domain::real, 1));
}

TEST_CASE("gradcheck accepts a right gradient and rejects each kind of wrong one") {
  const GradcheckResult right = result<Fault::none>();
  CHECK(right.ok);
  CHECK(right.max_error > 0);
  CHECK(right.max_error < 1e-6);
  CHECK_FALSE(result<Fault::factor>().ok);
  CHECK_FALSE(result<Fault::sign>().ok);
  CHECK_FALSE(result<Fault::unwritten>().ok);
  CHECK(result<Fault::unwritten>().max_error == INFINITY);  // new memory is NaN, whatever lay there before
  CHECK_FALSE(result<Fault::zero>().ok);
  CHECK_FALSE(result<Fault::accumulates>().ok);
  CHECK_FALSE(result<Fault::wrong_stack>().ok);
  CHECK_FALSE(result<Fault::one_element>().ok);
}

TEST_CASE("gradcheck names the input and the element, the first of those that are wrong") {
  CHECK(result<Fault::factor>().message.starts_with("input 0 of [3,5] element 0: backward gives "));
  CHECK(result<Fault::one_element>().message.starts_with("input 0 element 14 of stacked cotangent 1: "));
}

TEST_CASE("a gradient that is zero everywhere proves nothing unless it is expected") {
  const auto flat = [](const std::vector<Variable>& x) { return relu(x[0] - 10); };
  const std::vector<Tensor> inputs = sample_inputs({{3}}, OpInfo::Domain::real, 1);
  CHECK_FALSE(gradcheck(flat, inputs).ok);
  CHECK(gradcheck(flat, inputs, {.zero_expected = true}).ok);
}

TEST_CASE("gradcheck checks float64 only") {
  const std::vector<Tensor> inputs = sample_inputs({{3}}, OpInfo::Domain::real, 1, DType::float32);
  CHECK_ERROR(gradcheck([](const auto& x) { return square(x[0]); }, inputs), "float64 expected");
}

TEST_CASE("sample inputs keep to their domain") {
  for (const auto& [domain, low, high] :
       {std::tuple{OpInfo::Domain::positive, 0.1, 2.0}, {OpInfo::Domain::unit, 0.05, 0.95}})
    for (const double v : sample_inputs({{7, 9}}, domain, 3)[0].to_vector<double>())
      CHECK((v > low && v < high));
}

TEST_CASE("sample inputs are distinct and stay away from zero, the kink of most functions") {
  const std::vector<Tensor> inputs = sample_inputs({{7, 9}, {5}}, OpInfo::Domain::real, 3);
  std::vector<double> all = inputs[0].to_vector<double>();
  const std::vector<double> more = inputs[1].to_vector<double>();
  all.insert(all.end(), more.begin(), more.end());
  std::sort(all.begin(), all.end());
  for (size_t i = 0; i < all.size(); ++i) {
    CHECK(std::abs(all[i]) > 0.05);
    CHECK(std::abs(all[i]) <= 2);
    if (i > 0) CHECK(all[i] - all[i - 1] > 0.01);
  }
}

}  // namespace
}  // namespace hashgrad
