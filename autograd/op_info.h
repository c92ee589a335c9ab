// One row per op. The gradient check, the float32-against-float64 check, the benchmark list and the support
// table in docs/ops.md are all made from these rows: registering an op is adding its tests.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "autograd/variable.h"

namespace hashgrad {

struct OpInfo {
  /// Random inputs keep away from kinks: they are distinct multiples of a step, shuffled, none near zero.
  enum class Domain { real, positive, unit };  // (-2, 2), (0.1, 2), (0.05, 0.95)

  std::string name;
  std::string formula;
  /// The op on one sample; attributes (stride, labels ...) are fixed inside.
  std::function<Variable(const std::vector<Variable>&)> call;
  /// Each sample is the shapes of all inputs.
  std::vector<std::vector<Shape>> samples;
  /// Largest relative error of a float64 gradient against central differences.
  double tolerance = 1e-6;
  Domain domain = Domain::real;
  /// Work and traffic of one call on these shapes, for benchmarks; 0 when not stated.
  std::function<double(const std::vector<Shape>&)> flops = {};
  /// Non-empty for an op that has no gradient: the reason.
  std::string no_gradient = {};
};

/// Every registered op, in name order. The linker leaves those out of a program that links the static library
/// and does not call them, unless it takes the whole archive, as the tests do.
const std::vector<OpInfo>& all_ops();

/// `static const RegisterOp row({...});` at the bottom of an op's .cpp.
struct RegisterOp {
  explicit RegisterOp(OpInfo info);
};

}  // namespace hashgrad
