// Is a gradient right? Central differences in float64 against what backward computes.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "autograd/op_info.h"

namespace hashgrad {

struct GradcheckResult {
  bool ok = false;
  double max_error = 0;  // |analytic - numeric| / max(1, |numeric|), worst element
  std::string message;   // what was compared where, when not ok
};

struct GradcheckOptions {
  double tolerance = 1e-6;
  double step = 1e-6;
  /// A gradient that is zero everywhere is refused unless expected: two zeros agree without proving anything.
  bool zero_expected = false;
};

/// Checks d(sum(c * f(inputs)))/d(inputs) with fixed pseudo-random weights c, element by element. Inputs are
/// float64. While it runs every new tensor is filled with NaN, so an element that forward or backward forgets
/// to write shows. Also checked: three cotangents through vjp() equal three separate passes.
GradcheckResult gradcheck(const std::function<Variable(const std::vector<Variable>&)>& f,
                          const std::vector<Tensor>& inputs, const GradcheckOptions& options = {});

/// Inputs for an op's sample, as its domain asks: distinct values, a fixed distance from each other and from
/// zero.
std::vector<Tensor> sample_inputs(const std::vector<Shape>& shapes, OpInfo::Domain domain, uint64_t seed,
                                  DType dtype = DType::float64);

}  // namespace hashgrad
