// 2D convolution, alone or fused with bias, ReLU and 2x2 max pooling.
#pragma once

#include "autograd/node.h"
#include "autograd/ops/linear.h"
#include "cpu/conv2d.h"

namespace hashgrad {

struct Conv2dOptions {
  int64_t stride = 1, padding = 0;  // the same in both directions; padding with zeros
  Activation activation = Activation::none;
  /// Also takes the maximum of each 2x2 window (stride 2, an odd last row or column is dropped) of the
  /// activation, which is then never written to memory. Needs Activation::relu.
  bool max_pool2 = false;
};

/// The sizes of op `name` on these operands. Error that says which does not fit.
cpu::Conv2dShape conv2d_shape(const char* name, const Tensor& x, const Tensor& weight, const Tensor& bias,
                              const Conv2dOptions& options);

struct Conv2d {
  static constexpr const char* name = "conv2d";
  Conv2dOptions options;
  cpu::Conv2dShape shape = {};
  Tensor x = {}, weight = {};       // saved for the gradient of the other one
  Tensor output = {}, argmax = {};  // saved when fused: what ReLU and pooling let through
  Tensor mask = {};                 // in place of output where that is not known to be saved anyway

  Tensor forward(Needs needs, const Tensor& in, const Tensor& w, const Tensor& bias);
  Gradients<3> backward(Needs needs, const Tensor& dy, int64_t copies) const;
};

/// y[n,o,i,j] = sum_{c,r,s} weight[o,c,r,s] * x[n,c, i*stride + r - padding, j*stride + s - padding] +
/// bias[o] x [N,C,H,W], weight [O,C,kh,kw], bias [O] or undefined -> [N,O,H',W'], H' = (H + 2 padding - kh) /
/// stride + 1. The fused forms give the same bits as conv2d, relu and max_pool2d one after the other;
/// backward through pooling sums on the CPU may stand in another order (cpu/conv2d_pooled.h).
template <TensorLike X>
X conv2d(const X& x, const X& weight, const X& bias = {}, const Conv2dOptions& options = {}) {
  return apply(Conv2d{options}, x, weight, bias);
}

}  // namespace hashgrad
