// Climbing the loss step by step from the image: the loop that mim, ifgsm and ifgm share.
#pragma once

#include <functional>

#include "attacks/attack.h"

namespace hashgrad {

/// What one such attack adds to the loop.
struct ClimbRule {
  int64_t iters;
  bool early_stop;  // false: always `iters` steps, and the last iterate
  Loss loss;
  /// Where the gradient [rows,C,H,W] leads. `memory` is what the attack remembers of each row: undefined
  /// before the first step, then of the gradient's shape.
  std::function<Tensor(const Tensor& gradient, Tensor& memory)> direction;
  /// The next iterates from x along `direction`, for the images `origin`.
  std::function<Tensor(const Tensor& x, const Tensor& direction, const Tensor& origin)> move;
};

/// A row ends at its first success, or where its direction is zero or its gradient not a number; it returns
/// the first success, else the iterate with the largest loss. Without early stop rows that are wrong before
/// take part too, and the last iterate is returned; so it is where the oracle does not decide
/// (Oracle::decides).
Crafted climb(const Oracle& oracle, const AttackInput& input, const ClimbRule& rule);

}  // namespace hashgrad
