// Convolution and batch norm of inference in one pass, with what may follow them.
#pragma once

#include "autograd/ops/batch_norm.h"
#include "autograd/ops/conv2d.h"

namespace hashgrad {

struct ConvNorm {
  static constexpr const char* name = "conv_norm";
  Conv2d conv;
  BatchNorm norm;
  Tensor forward(Needs needs, const Tensor& in, const Tensor& w, const Tensor& bias, const Tensor& gamma,
                 const Tensor& beta, const Tensor& added);
  Gradients<6> backward(Needs needs, Tensor dy, int64_t copies) const;
};

/// batch_norm(conv2d(x, weight, bias), gamma, beta) with running statistics as constants, plus `added`, and
/// the activation of `norm`: shapes as there, the same bits, forward and backward. Each plane is normalised
/// where the convolution leaves it, so that a pass over memory is saved. `conv` without activation, `norm` of
/// inference; gradients flow into x and `added` alone: an Error if another input wants one.
template <TensorLike X>
X conv_norm(const X& x, const X& weight, const X& bias, const Conv2dOptions& conv, const X& gamma,
            const X& beta, const Tensor& running_mean, const Tensor& running_var,
            const BatchNormOptions& norm, const X& added = {}) {
  return apply(ConvNorm{Conv2d{conv}, BatchNorm{running_mean, running_var, {}, norm}}, x, weight, bias, gamma,
               beta, added);
}

}  // namespace hashgrad
