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

/// What gradients of an output are multiplied by: `copies` random cotangents, stacked along the batch axis.
struct Cotangents {
  Tensor weights;  // the first of them alone, of the output's shape
  Tensor stacked;

  Cotangents(const Shape& output, int64_t copies)
      : weights(random_weights(output, 0)), stacked(Tensor::empty(output.with(0, copies), DType::float64)) {
    const Shape one = output.with(0, 1);
    for (int64_t k = 0; k < copies; ++k)
      stacked.slice(0, k, k + 1).copy_from(random_weights(output, static_cast<uint64_t>(k)).reshape(one));
  }
};

/// The largest error of all comparisons, and the message of the first that fails.
struct Comparison {
  double tolerance;
  GradcheckResult result{true, 0, ""};

  explicit Comparison(double tolerated) : tolerance(tolerated) {}
  void compare(double analytic, double numeric, const std::string& what) {
    const double e = relative_error(analytic, numeric);
    result.max_error = std::max(result.max_error, e);
    if (e <= tolerance || !result.ok) return;
    result.ok = false;
    result.message = fmt::format("{}: backward gives {:.9g}, {:.9g} expected", what, analytic, numeric);
  }
};

/// Stacked cotangents must give what each gives alone. Returns whether all of it is zero, of something.
bool compare_with_single(const Variable& y, const std::vector<Variable>& leaves, const Tensor& cotangents,
                         const std::vector<Tensor>& stacked, Comparison& comparison) {
  bool all_zero = std::any_of(leaves.begin(), leaves.end(), [](auto& x) { return x.numel() > 0; });
  for (int64_t k = 0; k < cotangents.size(0); ++k) {
    const std::vector<Tensor> single = vjp(y, leaves, cotangents.slice(0, k, k + 1), true);
    for (size_t i = 0; i < leaves.size(); ++i) {
      const Tensor many = stacked[i].slice(0, k, k + 1).contiguous(), one = single[i].contiguous();
      for (int64_t j = 0; j < one.numel(); ++j) {
        all_zero = all_zero && one.data<double>()[j] == 0;
        comparison.compare(many.data<double>()[j], one.data<double>()[j],
                           fmt::format("input {} element {} of stacked cotangent {}", i, j, k));
      }
    }
  }
  return all_zero;
}

/// The gradients of the first cotangent must be what central differences of f give, element by element.
void compare_with_differences(const std::function<Variable(const std::vector<Variable>&)>& f,
                              std::vector<Variable>& constants, const Tensor& weights, double step,
                              const std::vector<Tensor>& stacked, Comparison& comparison) {
  for (size_t i = 0; i < constants.size(); ++i) {
    const Tensor analytic = stacked[i].slice(0, 0, 1).contiguous();
    double* x = constants[i].value().data<double>();
    for (int64_t j = 0; j < constants[i].numel(); ++j) {
      const double before = x[j];
      x[j] = before + step;
      const double above = weighted(f(constants).value(), weights);
      x[j] = before - step;
      const double below = weighted(f(constants).value(), weights);
      x[j] = before;
      comparison.compare(analytic.data<double>()[j], (above - below) / (2 * step),
                         fmt::format("input {} of {} element {}", i, constants[i].shape(), j));
    }
  }
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
  const Cotangents cotangents(y.shape(), 3);
  const std::vector<Tensor> stacked = vjp(y, leaves, cotangents.stacked, true);
  Comparison comparison(options.tolerance);
  const bool all_zero = compare_with_single(y, leaves, cotangents.stacked, stacked, comparison);
  compare_with_differences(f, constants, cotangents.weights, options.step, stacked, comparison);
  if (comparison.result.ok && all_zero && !options.zero_expected)
    return {false, comparison.result.max_error, "the gradient is zero everywhere, which proves nothing"};
  return comparison.result;
}

}  // namespace hashgrad
