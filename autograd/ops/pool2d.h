// Max, average and global average pooling.
#pragma once

#include "autograd/node.h"
#include "cpu/pool2d.h"

namespace hashgrad {

/// A square window; padding is at most half of it.
struct PoolOptions {
  int64_t kernel, stride, padding = 0;
};

struct MaxPool2d {
  static constexpr const char* name = "max_pool2d";
  PoolOptions options;
  Shape in_shape = {};
  Storage argmax = {};  // int32, shape of the result: place of the maximum in its plane of x
  Tensor forward(Needs needs, const Tensor& x);
  Gradients<1> backward(Needs needs, const Tensor& dy, int64_t copies) const;
};

struct AvgPool2d {
  static constexpr const char* name = "avg_pool2d";
  PoolOptions options;
  Shape in_shape = {};
  Tensor forward(Needs needs, const Tensor& x);
  Gradients<1> backward(Needs needs, const Tensor& dy, int64_t copies) const;
};

struct GlobalAvgPool {
  static constexpr const char* name = "global_avg_pool";
  Shape in_shape = {};
  Tensor forward(Needs needs, const Tensor& x);
  Gradients<1> backward(Needs needs, const Tensor& dy, int64_t copies) const;
};

/// Maximum of each window of x [N,C,H,W] -> [N,C,H',W'], H' = (H + 2 padding - kernel) / stride + 1. Padding
/// never wins; NaN does; the first of equal maxima gets the gradient.
template <TensorLike X>
X max_pool2d(const X& x, const PoolOptions& options) {
  return apply(MaxPool2d{options}, x);
}

/// Mean of each window, padded zeros counted, as above.
template <TensorLike X>
X avg_pool2d(const X& x, const PoolOptions& options) {
  return apply(AvgPool2d{options}, x);
}

/// Mean over the pixels: x [N,C,H,W] -> [N,C,1,1].
template <TensorLike X>
X global_avg_pool(const X& x) {
  return apply(GlobalAvgPool{}, x);
}

}  // namespace hashgrad
