// The comparison of max pooling, a vector of windows at a time.
#pragma once

namespace hashgrad::cpu::HASHGRAD_ISA {
namespace {

/// The larger of two and where it was; a later one wins only when greater or NaN.
template <class V, class Index>
[[gnu::always_inline]] inline void keep_larger(V x, Index at, V& best, Index& where) {
  const auto wins = (x > best) | (x != x);
  best = wins ? x : best;
  where = wins ? at : where;
}

}  // namespace
}  // namespace hashgrad::cpu::HASHGRAD_ISA
