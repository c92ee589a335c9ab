// [N,C,H,W] -> [N, C*H*W].
#pragma once

#include "autograd/ops/view.h"
#include "nn/module.h"

namespace hashgrad {

class FlattenLayer final : public Layer<FlattenLayer> {
 public:
  template <TensorLike X>
  X run(const X& x, const Pass&, Fused) const {
    return flatten(x);
  }
};

}  // namespace hashgrad
