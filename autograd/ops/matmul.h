// Matrix products.
#pragma once

#include "autograd/node.h"

namespace hashgrad {

struct Matmul {
  static constexpr const char* name = "matmul";
  Tensor a = {}, b = {};  // saved, each for the gradient of the other
  Tensor forward(Needs needs, const Tensor& a_in, const Tensor& b_in);
  Gradients<2> backward(Needs needs, const Tensor& dy) const;
};

/// a [M,K], b [K,N] -> [M,N], or a stack of products: [B,M,K], [B,K,N] -> [B,M,N]. Transposed views are read
/// in place.
template <TensorLike X>
X matmul(const X& a, const X& b) {
  return apply(Matmul{}, a, b);
}

}  // namespace hashgrad
