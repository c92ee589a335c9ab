// Dropout: in training each value is kept with probability 1 - p and then scaled by 1 / (1 - p).
#pragma once

#include "autograd/ops/dropout.h"
#include "nn/module.h"

namespace hashgrad {

class DropoutLayer final : public Layer<DropoutLayer> {
 public:
  /// `layer`, the layer's number in its network, gives each dropout its own draws.
  DropoutLayer(double p, uint32_t layer) : p_(p), layer_(layer) {}

  template <TensorLike X>
  X run(const X& x, const Pass& pass, Fused) const {  // [N, ...]
    if (!pass.training) return x;
    return dropout(x, p_, {pass.seed, layer_, pass.step, pass.samples});
  }

 private:
  double p_;
  uint32_t layer_;
};

}  // namespace hashgrad
