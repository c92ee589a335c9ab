// What loops over the rows of an attack share: who takes part, and who cannot move.
#pragma once

#include "attacks/live_rows.h"

namespace hashgrad {

/// Elements per row of a batch.
inline int64_t row_size(const Tensor& t) { return t.size(0) == 0 ? 0 : t.numel() / t.size(0); }

/// One forward pass over the clean images.
struct CleanPass {
  Tensor logits;              // [N,K]
  std::vector<int64_t> open;  // the rows whose goal is not reached yet, ascending
};
/// Counts the pass in `out` and books the other rows there as already wrong.
CleanPass judge_clean(const Oracle& oracle, const AttackInput& input, Crafted& out);

/// Per row: ok, nan where the gradient is not finite, zero_grad where the direction it leads to is exactly
/// zero.
std::vector<Status> obstacles(const Tensor& gradient, const Tensor& direction);

}  // namespace hashgrad
