// 2D convolution with a square kernel.
#pragma once

#include "autograd/ops/conv2d.h"
#include "nn/module.h"

namespace hashgrad {

/// Options of the op for a layer with what is fused behind it.
inline Conv2dOptions conv_options(int64_t stride, int64_t padding, Fused fused) {
  return {stride, padding, fused.relu ? Activation::relu : Activation::none, fused.max_pool2};
}

class ConvLayer final : public Layer<ConvLayer> {
 public:
  ConvLayer(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t padding, bool with_bias,
            DType dtype)
      : stride_(stride),
        padding_(padding),
        weight_(Variable::leaf(Tensor::zeros({out, in, kernel, kernel}, dtype))) {
    if (with_bias) bias_ = Variable::leaf(Tensor::zeros({out}, dtype));
  }

  template <TensorLike X>
  X run(const X& x, const Pass& pass, Fused fused) const {  // [N, in, H, W]
    return conv2d(x, as<X>(weight_, pass), as<X>(bias_, pass),
                  conv_options(stride_, padding_, fused));  // [N, out, H', W']
  }

  std::vector<Parameter> parameters() override {
    if (!bias_.defined()) return {{"weight", &weight_}};
    return {{"weight", &weight_}, {"bias", &bias_}};
  }

  void initialise(const Initialiser& init) override {
    const int64_t window = weight_.size(2) * weight_.size(3);
    init.weight(weight_.value(), weight_.size(1) * window, weight_.size(0) * window);
    if (bias_.defined()) init.bias(bias_.value(), weight_.size(1) * window);
  }

 private:
  int64_t stride_, padding_;
  Variable weight_;  // [out, in, kernel, kernel]
  Variable bias_;    // [out], or undefined
};

}  // namespace hashgrad
