// Fully connected layer: y = x W^T + b.
#pragma once

#include "autograd/ops/linear.h"
#include "nn/module.h"

namespace hashgrad {

class LinearLayer final : public Layer<LinearLayer> {
 public:
  LinearLayer(int64_t in, int64_t out, bool with_bias, DType dtype)
      : weight_(Variable::leaf(Tensor::zeros({out, in}, dtype))) {
    if (with_bias) bias_ = Variable::leaf(Tensor::zeros({out}, dtype));
  }

  template <TensorLike X>
  X run(const X& x, const Pass& pass, Fused fused) const {  // [N, in]
    const Activation activation = fused.relu ? Activation::relu : Activation::none;
    return linear(x, as<X>(weight_, pass), as<X>(bias_, pass), activation);  // [N, out]
  }

  std::vector<Parameter> parameters() override {
    if (!bias_.defined()) return {{"weight", &weight_}};
    return {{"weight", &weight_}, {"bias", &bias_}};
  }

  void initialise(const Initialiser& init) override {
    init.weight(weight_.value(), weight_.size(1), weight_.size(0));
    if (bias_.defined()) init.bias(bias_.value(), weight_.size(1));
  }

 private:
  Variable weight_;  // [out, in]
  Variable bias_;    // [out], or undefined
};

}  // namespace hashgrad
