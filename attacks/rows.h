// What loops over the rows of an attack share: who takes part, and who cannot move.
#pragma once

#include "attacks/live_rows.h"
#include "attacks/row_loops.h"

namespace hashgrad {

/// One forward pass over the clean images.
struct CleanPass {
  Tensor logits;              // [N,K]
  std::vector<int64_t> open;  // the rows whose goal is not reached yet, ascending
};
/// Counts the pass in `out` and ends the other rows there: already wrong, or nan without an answer.
/// Where the oracle does not decide (Oracle::decides) no row is wrong already.
CleanPass judge_clean(const Oracle& oracle, const AttackInput& input, Crafted& out);

/// Per row: ok, nan where the gradient is not finite, zero_grad where the direction it leads to is exactly
/// zero.
std::vector<Status> obstacles(const Tensor& gradient, const Tensor& direction);

}  // namespace hashgrad
