// Softmax and log-softmax over the last axis.
#pragma once

#include "autograd/node.h"
#include "cpu/softmax.h"

namespace hashgrad {

struct Softmax {
  static constexpr const char* name = "softmax";
  Tensor y = {};  // saved
  Tensor forward(Needs needs, const Tensor& x);
  Gradients<1> backward(Needs needs, const Tensor& dy, int64_t copies) const;
};

struct LogSoftmax {
  static constexpr const char* name = "log_softmax";
  Tensor y = {};  // saved
  Tensor forward(Needs needs, const Tensor& x);
  Gradients<1> backward(Needs needs, const Tensor& dy, int64_t copies) const;
};

/// exp(x_j - max x) / sum_k exp(x_k - max x) over the last axis of x [...,K], K >= 1. The maximum is taken
/// out first, and results below the normal range keep their denormal value (float32: down to a gap of
/// 103.97).
template <TensorLike X>
X softmax(const X& x) {
  return apply(Softmax{}, x);
}

/// x_j - max x - log sum_k exp(x_k - max x) over the last axis.
template <TensorLike X>
X log_softmax(const X& x) {
  return apply(LogSoftmax{}, x);
}

}  // namespace hashgrad
