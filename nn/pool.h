// Pooling layers.
#pragma once

#include "autograd/ops/pool2d.h"
#include "nn/module.h"

namespace hashgrad {

class MaxPoolLayer final : public Layer<MaxPoolLayer> {
 public:
  explicit MaxPoolLayer(const PoolOptions& options) : options_(options) {}
  template <TensorLike X>
  X run(const X& x, const Pass&, Fused) const {  // [N, C, H, W]
    return max_pool2d(x, options_);              // [N, C, H', W']
  }

 private:
  PoolOptions options_;
};

class AvgPoolLayer final : public Layer<AvgPoolLayer> {
 public:
  explicit AvgPoolLayer(const PoolOptions& options) : options_(options) {}
  template <TensorLike X>
  X run(const X& x, const Pass&, Fused) const {  // [N, C, H, W]
    return avg_pool2d(x, options_);              // [N, C, H', W']
  }

 private:
  PoolOptions options_;
};

class GlobalAvgPoolLayer final : public Layer<GlobalAvgPoolLayer> {
 public:
  template <TensorLike X>
  X run(const X& x, const Pass&, Fused) const {  // [N, C, H, W]
    return global_avg_pool(x);                   // [N, C, 1, 1]
  }
};

}  // namespace hashgrad
