// Functions of one element.
#pragma once

#include "autograd/node.h"
#include "cpu/pointwise.h"

namespace hashgrad {

inline constexpr const char* unary_names[] = {
#define NAME(name) #name,
    HASHGRAD_UNARY(NAME)
#undef NAME
};

template <cpu::Unary op>
struct Pointwise {
  static constexpr const char* name = unary_names[static_cast<int>(op)];
  Tensor x = {}, y = {};  // saved; x only where the derivative cannot be had from y
  Tensor forward(Needs needs, const Tensor& in);
  Gradients<1> backward(Needs needs, const Tensor& dy, int64_t copies) const;
};

struct Clamp {
  static constexpr const char* name = "clamp";
  double low, high;
  Tensor x = {};  // saved
  Tensor forward(Needs needs, const Tensor& in);
  Gradients<1> backward(Needs needs, const Tensor& dy, int64_t copies) const;
};

// Kinks: relu and abs have derivative 0 at 0. leaky_relu has slope 0.01 below 0; gelu is the exact one,
// x * (1 + erf(x / sqrt 2)) / 2.
#define HASHGRAD_POINTWISE(f)                    \
  template <TensorLike X>                        \
  X f(const X& x) {                              \
    return apply(Pointwise<cpu::Unary::f>{}, x); \
  }
HASHGRAD_POINTWISE(neg)
HASHGRAD_POINTWISE(abs)
HASHGRAD_POINTWISE(exp)
HASHGRAD_POINTWISE(log)
HASHGRAD_POINTWISE(sqrt)
HASHGRAD_POINTWISE(square)
HASHGRAD_POINTWISE(reciprocal)
HASHGRAD_POINTWISE(sin)
HASHGRAD_POINTWISE(cos)
HASHGRAD_POINTWISE(tanh)
HASHGRAD_POINTWISE(sigmoid)
HASHGRAD_POINTWISE(relu)
HASHGRAD_POINTWISE(leaky_relu)
HASHGRAD_POINTWISE(gelu)
HASHGRAD_POINTWISE(softplus)
#undef HASHGRAD_POINTWISE

template <TensorLike X>
X operator-(const X& x) {
  return neg(x);
}

/// min(max(x, low), high), low <= high; the gradient passes where low <= x <= high. NaN stays NaN.
template <TensorLike X>
X clamp(const X& x, double low, double high) {
  return apply(Clamp{low, high}, x);
}

// Steps: constant almost everywhere, so they have no gradient worth the name and take Tensors only.
// sign(0) = 0; round takes halves to the even neighbour.
Tensor sign(const Tensor& x);
Tensor floor(const Tensor& x);
Tensor ceil(const Tensor& x);
Tensor round(const Tensor& x);

}  // namespace hashgrad
