// Saliency maps and the search for their best feature or pair.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "attacks/gradient.h"

namespace hashgrad {

/// How raising each feature acts on the target's output and, with the sign turned, on the sum of all others:
/// rise[i] = dF_t/dx_i, drop[i] = -sum_{o != t} dF_o/dx_i, each [N,C,H,W].
struct Saliency {
  Tensor logits;      // [N,K]
  Tensor rise, drop;  // drop is rise itself for probabilities, whose sum does not change
  int64_t backwards;  // cotangents spent per row
};
/// Two cotangents are enough for logits, one for probabilities; no Jacobian is built. Where x is: the
/// searches below scan the map of one image, which the CPU does best. targets [N] int64 on the CPU.
Saliency saliency(const Oracle& oracle, const Tensor& x, const Tensor& targets, Outputs of);

/// A power of two that brings the largest of n slopes near 1. Behind a softmax that is nearly saturated in
/// float64 they are smaller than 1e-162, where the product of two would be 0 for all features alike.
template <class T>
double slope_unit(const T* slopes, int64_t n);

/// The feature with the largest rise * drop among those with rise > 0 and drop > 0 (A-E7); the lowest index
/// on ties, none when there is none. `direction` is +1, or -1 for features that will be lowered; `free[i]`
/// says whether feature i may still change.
template <class T>
std::optional<int64_t> best_feature(const T* rise, const T* drop, const std::vector<bool>& free,
                                    double direction);

/// The pair p < q with the largest (rise_p + rise_q)(drop_p + drop_q), both sums positive (Papernot et al.,
/// algorithm 3); the first in lexicographic order on ties. Exact, in O(n log n) for the n features of one
/// image: only features that at most one other feature beats in both coordinates can be part of it.
template <class T>
std::optional<std::pair<int64_t, int64_t>> best_pair(const T* rise, const T* drop,
                                                     const std::vector<bool>& free, double direction);

}  // namespace hashgrad
