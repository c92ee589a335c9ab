// Activations as layers.
#pragma once

#include "autograd/ops/pointwise.h"
#include "autograd/ops/softmax.h"
#include "nn/module.h"

namespace hashgrad {

class ReluLayer final : public Layer<ReluLayer> {
 public:
  template <TensorLike X>
  X run(const X& x, const Pass&, Fused) const {
    return relu(x);
  }
};

class SoftmaxLayer final : public Layer<SoftmaxLayer> {
 public:
  template <TensorLike X>
  X run(const X& x, const Pass&, Fused) const {  // [N, K]
    return softmax(x);
  }
};

}  // namespace hashgrad
