#include "autograd/gradcheck.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/reduce.h"
#include "core/random.h"

namespace hashgrad {
namespace {

struct PoisonNewMemory {
  const bool before = poison_new_memory(true);
  ~PoisonNewMemory() { poison_new_memory(before); }
};

Tensor random_weights(const Shape& shape, uint64_t seed) {
  Tensor t = Tensor::empty(shape, DType::float64);
  Random random(seed, Stream::test);
  for (int64_t i = 0; i < t.numel(); ++i) t.data<double>()[i] = 0.5 + random.uniform_double();
  return t;
}

double weighted(const Tensor& y, const Tensor& weights) {
  const Tensor c = y.contiguous();
  return std::inner_product(c.data<double>(), c.data<double>() + c.numel(), weights.data<double>(), 0.0);
}

double relative_error(double analytic, double numeric) {
  const double e = std::abs(analytic - numeric) / std::max(1.0, std::abs(numeric));
  return std::isnan(e) ? INFINITY : e;
}

}  // namespace

std::vector<Tensor> sample_inputs(const std::vector<Shape>& shapes, OpInfo::Domain domain, uint64_t seed,
                                  DType dtype) {
  int64_t total = 0;
  for (const Shape& s : shapes) total += s.numel();
  std::vector<double> values(static_cast<size_t>(total));
  for (size_t i = 0; i < values.size(); ++i) {
    const double u = (static_cast<double>(i) + 0.5) / static_cast<double>(total);  // (0, 1), evenly spaced
    switch (domain) {
      case OpInfo::Domain::real:
        values[i] = u < 0.5 ? -2 + 3.8 * u : 0.1 + 3.8 * (u - 0.5);
        break;
      case OpInfo::Domain::positive:
        values[i] = 0.1 + 1.9 * u;
        break;
      case OpInfo::Domain::unit:
        values[i] = 0.05 + 0.9 * u;
        break;
    }
  }
  Random random(seed, Stream::test, 1);
  for (size_t i = values.size(); i > 1; --i)
    std::swap(values[i - 1], values[random.below(static_cast<uint32_t>(i))]);
  std::vector<Tensor> inputs;
  auto next = values.begin();
  for (const Shape& s : shapes) {
    inputs.push_back(Tensor::of(std::vector<double>(next, next + s.numel()), s).to(dtype));
    next += s.numel();
  }
  return inputs;
}

GradcheckResult gradcheck(const std::function<Variable(const std::vector<Variable>&)>& f,
                          const std::vector<Tensor>& inputs, const GradcheckOptions& options) {
  const PoisonNewMemory poison;
  std::vector<Variable> leaves, constants;
  for (const Tensor& x : inputs) {
    check(x.dtype() == DType::float64, "gradcheck: an input is {}, float64 expected", name_of(x.dtype()));
    leaves.push_back(Variable::leaf(x.clone()));
    constants.push_back(leaves.back().value());
  }
  const Variable y = f(leaves);
  const int64_t copies = 3;
  std::vector<Tensor> weights;
  Tensor cotangents = Tensor::empty(y.shape().with(0, copies), DType::float64);
  for (int64_t k = 0; k < copies; ++k) {
    weights.push_back(random_weights(y.shape(), static_cast<uint64_t>(k)));
    cotangents.slice(0, k, k + 1).copy_from(weights.back().reshape(y.shape().with(0, 1)));
  }
  GradcheckResult result{true, 0, ""};
  const auto compare = [&](double analytic, double numeric, const std::string& what) {
    const double e = relative_error(analytic, numeric);
    result.max_error = std::max(result.max_error, e);
    if (e <= options.tolerance || !result.ok) return;
    result.ok = false;
    result.message = fmt::format("{}: backward gives {:.9g}, {:.9g} expected", what, analytic, numeric);
  };
  bool all_zero = std::any_of(inputs.begin(), inputs.end(), [](auto& x) { return x.numel() > 0; });
  const std::vector<Tensor> stacked = vjp(y, leaves, cotangents, true);
  for (int64_t k = 0; k < copies; ++k) {
    const std::vector<Tensor> single = vjp(y, leaves, cotangents.slice(0, k, k + 1), true);
    for (size_t i = 0; i < inputs.size(); ++i) {
      const Tensor many = stacked[i].slice(0, k, k + 1).contiguous(), one = single[i].contiguous();
      for (int64_t j = 0; j < one.numel(); ++j) {
        all_zero = all_zero && one.data<double>()[j] == 0;
        compare(many.data<double>()[j], one.data<double>()[j],
                fmt::format("input {} element {} of stacked cotangent {}", i, j, k));
      }
    }
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    double* x = constants[i].value().data<double>();
    for (int64_t j = 0; j < inputs[i].numel(); ++j) {
      const double before = x[j];
      x[j] = before + options.step;
      const double above = weighted(f(constants).value(), weights[0]);
      x[j] = before - options.step;
      const double below = weighted(f(constants).value(), weights[0]);
      x[j] = before;
      const double numeric = (above - below) / (2 * options.step);
      const Tensor analytic = stacked[i].slice(0, 0, 1).contiguous();
      compare(analytic.data<double>()[j], numeric,
              fmt::format("input {} of {} element {}", i, inputs[i].shape(), j));
    }
  }
  if (result.ok && all_zero && y.numel() > 0 && !options.zero_expected)
    result = {false, result.max_error, "the gradient is zero everywhere, which proves nothing"};
  return result;
}

}  // namespace hashgrad
