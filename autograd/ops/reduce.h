// Sums, means and extremes. Every sum is made in a fixed order with double accumulators; along an axis, a
// row's result depends on that row alone.
#pragma once

#include "autograd/node.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/pointwise.h"

namespace hashgrad {

struct Sum {
  static constexpr const char* name = "sum";
  Shape kept;    // of the input, with 1 for what is summed
  Shape result;  // kept, or without the ones
  Shape in_shape = {};
  Tensor forward(Needs needs, const Tensor& x);
  Gradients<1> backward(Needs needs, const Tensor& dy) const;
};

struct Max {
  static constexpr const char* name = "max";
  int axis;
  bool keep;
  Shape in_shape = {};
  Tensor argmax = {};  // saved
  Tensor forward(Needs needs, const Tensor& x);
  Gradients<1> backward(Needs needs, const Tensor& dy) const;
};

/// Undoes broadcasting: sums over the axes that stretching `shape` to t's shape added or enlarged. With
/// copies > 1, t is that many tensors stacked along axis 0 and so is the result.
Tensor sum_to(const Tensor& t, const Shape& shape, int64_t copies = 1);

/// All elements -> [].
template <TensorLike X>
X sum(const X& x) {
  Shape ones = x.shape();
  for (int i = 0; i < ones.rank(); ++i) ones.set(i, 1);
  return apply(Sum{ones, {}}, x);
}
/// Along one axis, which is taken out of the shape, or left with size 1 if `keep`.
template <TensorLike X>
X sum(const X& x, int axis, bool keep = false) {
  Shape kept = x.shape();
  kept.set(axis, 1);
  return apply(Sum{kept, keep ? kept : x.shape().without(axis)}, x);
}

/// As sum, divided by the number of elements, of which there must be one at least.
template <TensorLike X>
X mean(const X& x) {
  check(x.numel() > 0, "mean: shape {} has no elements", x.shape());
  return sum(x) / static_cast<double>(x.numel());
}
template <TensorLike X>
X mean(const X& x, int axis, bool keep = false) {
  check(x.size(axis) > 0, "mean: axis {} of shape {} has no elements", axis, x.shape());
  return sum(x, axis, keep) / static_cast<double>(x.size(axis));
}

/// Largest element along an axis of size 1 or more; the first of equals gets the gradient, and a NaN counts
/// as the largest.
template <TensorLike X>
X max(const X& x, int axis, bool keep = false) {
  return apply(Max{axis, keep}, x);
}
template <TensorLike X>
X min(const X& x, int axis, bool keep = false) {
  return neg(max(neg(x), axis, keep));
}

/// Index (int64) of the largest element along an axis of size 1 or more; of equals the lowest index.
Tensor argmax(const Tensor& x, int axis);

}  // namespace hashgrad
