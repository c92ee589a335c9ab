// Elementwise arithmetic of two tensors. Shapes broadcast as in NumPy: trailing axes are aligned, an axis of
// size 1 stretches. Both sides must have one element type.
#pragma once

#include "autograd/node.h"
#include "cpu/pointwise.h"

namespace hashgrad {

inline constexpr const char* binary_names[] = {
#define NAME(name) #name,
    HASHGRAD_BINARY(NAME)
#undef NAME
};

template <cpu::Binary op>
struct Elementwise {
  static constexpr const char* name = binary_names[static_cast<int>(op)];
  Tensor a = {}, b = {};  // saved by mul, div, max and min
  Shape a_shape = {}, b_shape = {};
  Tensor forward(Needs needs, const Tensor& a_in, const Tensor& b_in);
  Gradients<2> backward(Needs needs, const Tensor& dy, int64_t copies) const;
};

template <TensorLike X>
X add(const X& a, const X& b) {
  return apply(Elementwise<cpu::Binary::add>{}, a, b);
}
template <TensorLike X>
X sub(const X& a, const X& b) {
  return apply(Elementwise<cpu::Binary::sub>{}, a, b);
}
template <TensorLike X>
X mul(const X& a, const X& b) {
  return apply(Elementwise<cpu::Binary::mul>{}, a, b);
}
template <TensorLike X>
X div(const X& a, const X& b) {
  return apply(Elementwise<cpu::Binary::div>{}, a, b);
}
/// The larger of each pair; of equals, `a` gets the gradient. NaN when either is NaN.
template <TensorLike X>
X maximum(const X& a, const X& b) {
  return apply(Elementwise<cpu::Binary::max>{}, a, b);
}
/// The smaller of each pair; of equals, `a` gets the gradient. NaN when either is NaN.
template <TensorLike X>
X minimum(const X& a, const X& b) {
  return apply(Elementwise<cpu::Binary::min>{}, a, b);
}

/// A number on one side of an operator: a constant of the other side's element type, on its device.
template <TensorLike X>
Tensor number_beside(const X& x, double number) {
  return Tensor::full({}, number, x.dtype(), x.device());
}
#define HASHGRAD_OPERATOR(symbol, function)     \
  template <TensorLike X>                       \
  X operator symbol(const X& a, const X& b) {   \
    return function(a, b);                      \
  }                                             \
  template <TensorLike X>                       \
  X operator symbol(const X& a, double b) {     \
    return function(a, X(number_beside(a, b))); \
  }                                             \
  template <TensorLike X>                       \
  X operator symbol(double a, const X& b) {     \
    return function(X(number_beside(b, a)), b); \
  }
HASHGRAD_OPERATOR(+, add)
HASHGRAD_OPERATOR(-, sub)
HASHGRAD_OPERATOR(*, mul)
HASHGRAD_OPERATOR(/, div)
#undef HASHGRAD_OPERATOR

}  // namespace hashgrad
