// Ops that move no element, and the few that only copy.
#pragma once

#include <utility>
#include <vector>

#include "autograd/node.h"

namespace hashgrad {

struct Reshape {
  static constexpr const char* name = "reshape";
  std::vector<int64_t> sizes;
  Shape in_shape = {};
  Tensor forward(Needs needs, const Tensor& x);
  Gradients<1> backward(Needs needs, const Tensor& dy, int64_t copies) const;
};

struct Permute {
  static constexpr const char* name = "permute";
  std::vector<int> axes;
  Tensor forward(Needs needs, const Tensor& x) const;
  Gradients<1> backward(Needs needs, const Tensor& dy) const;
};

struct Slice {
  static constexpr const char* name = "slice";
  int axis;
  int64_t begin, end;
  Shape in_shape = {};
  Tensor forward(Needs needs, const Tensor& x);
  Gradients<1> backward(Needs needs, const Tensor& dy) const;
};

struct Concat {
  static constexpr const char* name = "concat";
  int axis;
  std::vector<int64_t> begins = {};  // where each input starts, and the end of the last
  Tensor forward(Needs needs, const std::vector<Tensor>& inputs);
  std::vector<Tensor> backward(Needs needs, const Tensor& dy) const;
};

/// Elements added before and after each axis.
using Padding = std::vector<std::pair<int64_t, int64_t>>;

struct Pad {
  static constexpr const char* name = "pad";
  Padding padding;
  double value;
  Shape in_shape = {};
  Tensor forward(Needs needs, const Tensor& x);
  Gradients<1> backward(Needs needs, const Tensor& dy) const;
};

struct Expand {
  static constexpr const char* name = "expand";
  Shape shape;
  Shape in_shape = {};
  Tensor forward(Needs needs, const Tensor& x);
  Gradients<1> backward(Needs needs, const Tensor& dy, int64_t copies) const;
};

/// The same elements in row-major order under another shape; one size may be -1 ("what is left").
template <TensorLike X>
X reshape(const X& x, const std::vector<int64_t>& sizes) {
  return apply(Reshape{sizes}, x);
}
template <TensorLike X>
X reshape(const X& x, const Shape& shape) {
  return apply(Reshape{{shape.begin(), shape.end()}}, x);
}
template <TensorLike X>
X reshape(const X& x, std::initializer_list<int64_t> sizes) {
  return apply(Reshape{sizes}, x);
}

/// x [N,...] -> [N, product of the rest].
template <TensorLike X>
X flatten(const X& x) {
  check(x.rank() >= 1, "flatten: a scalar has no rows");
  return reshape(x, Shape{x.size(0), x.shape().without(0).numel()});
}

/// Axis i of the result is axis axes[i] of x. A view.
template <TensorLike X>
X permute(const X& x, const std::vector<int>& axes) {
  return apply(Permute{axes}, x);
}

/// Swaps two axes. A view.
template <TensorLike X>
X transpose(const X& x, int a, int b) {
  std::vector<int> axes;
  for (int i = 0; i < x.rank(); ++i) axes.push_back(i);
  std::swap(axes[x.shape().axis(a)], axes[x.shape().axis(b)]);
  return permute(x, axes);
}

/// Elements [begin, end) of one axis. A view.
template <TensorLike X>
X slice(const X& x, int axis, int64_t begin, int64_t end) {
  return apply(Slice{axis, begin, end}, x);
}

/// Joins 1 to 64 tensors that agree in every other axis.
template <TensorLike X>
X concat(const std::vector<X>& inputs, int axis) {
  return apply_list(Concat{axis}, inputs);
}

/// Surrounds x with `value`; `padding` has one pair per axis, none negative.
template <TensorLike X>
X pad(const X& x, const Padding& padding, double value = 0) {
  return apply(Pad{padding, value}, x);
}

/// Stretches axes of size 1 and adds leading axes, without copying.
template <TensorLike X>
X expand(const X& x, const Shape& shape) {
  return apply(Expand{shape}, x);
}

}  // namespace hashgrad
