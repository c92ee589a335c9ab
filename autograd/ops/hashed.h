// Layers whose weights are hashed: V[i,j] = sign(i,j) * w[bucket(i,j)], of which only the bucket values w [K]
// are stored and trained (Chen et al., ICML 2015).
#pragma once

#include <memory>

#include "autograd/node.h"
#include "autograd/ops/conv2d.h"
#include "cpu/hash_gemm.h"

namespace hashgrad {

/// Where the virtual weights of one layer live: made once per layer, shared by its graphs.
using HashedMatrixPtr = std::shared_ptr<const cpu::HashedMatrix>;

struct HashedLinear {
  static constexpr const char* name = "hashed_linear";
  HashedMatrixPtr v;  // [out,in]
  Activation activation;
  Tensor x = {}, w = {};  // saved for the gradient of the other one
  Tensor output = {};     // saved with ReLU

  Tensor forward(Needs needs, const Tensor& in, const Tensor& buckets, const Tensor& bias);
  Gradients<3> backward(Needs needs, const Tensor& dy, int64_t copies) const;
};

struct HashedWeight {
  static constexpr const char* name = "hashed_weight";
  HashedMatrixPtr v;
  Shape shape;
  Tensor forward(Needs needs, const Tensor& w);
  Gradients<1> backward(Needs needs, const Tensor& dy, int64_t copies) const;
};

/// act(x V^T + bias): x [N,in], w [K], bias [out] or undefined, v [out,in] -> [N,out]. V is made inside the
/// matrix product and never stored; dw[b] = sum over the (i,j) of bucket b of sign(i,j) * (dy^T x)[i,j].
template <TensorLike X>
X hashed_linear(const X& x, const X& w, const X& bias, const HashedMatrixPtr& v,
                Activation activation = Activation::none) {
  return apply(HashedLinear{v, activation}, x, w, bias);
}

/// The virtual matrix itself under a given shape of rows * columns elements: the dense twin of a hashed
/// layer.
template <TensorLike X>
X hashed_weight(const X& w, const HashedMatrixPtr& v, const Shape& shape) {
  return apply(HashedWeight{v, shape}, w);
}

/// A hashed bias: b [Kb], v = cpu::HashedMatrix::linear_bias or convolution_bias -> [out].
template <TensorLike X>
X hashed_bias(const X& b, const HashedMatrixPtr& v) {
  return hashed_weight(b, v, {v->rows()});
}

/// conv2d with hashed weights: x [N,C,H,W], w [K], bias [out] or undefined, v [out, C*kernel_h*kernel_w] from
/// cpu::HashedMatrix::convolution. Every pixel uses every weight, so V is written out once per call.
template <TensorLike X>
X hashed_conv2d(const X& x, const X& w, const X& bias, const HashedMatrixPtr& v, int64_t kernel_h,
                int64_t kernel_w, const Conv2dOptions& options = {}) {
  check(x.rank() == 4, "hashed_conv2d: x of shape {}, [N,C,H,W] expected", x.shape());
  return conv2d(x, hashed_weight(w, v, {v->rows(), x.size(1), kernel_h, kernel_w}), bias, options);
}

}  // namespace hashgrad
