// 2D convolution.
#pragma once

#include "autograd/ops/conv2d.h"
#include "autograd/ops/view.h"
#include "nn/batch_norm.h"
#include "nn/module.h"
#include "nn/spec.h"

namespace hashgrad {

/// The kernels pad both directions alike. Where a layer's two paddings differ (1x7 and 7x1 windows), padded()
/// makes the padded images [N,C,H',W'] beforehand, and the options of the op ask for none.
template <TensorLike X>
X padded(const X& x, const Extent& padding) {
  if (padding.square()) return x;
  return pad(x, {{0, 0}, {0, 0}, {padding.height, padding.height}, {padding.width, padding.width}});
}

/// Options of the op for a layer with what is fused behind it; x has been through padded().
inline Conv2dOptions conv_options(int64_t stride, const Extent& padding, Fused fused) {
  return {stride, padding.square() ? padding.height : 0, fused.relu ? Activation::relu : Activation::none,
          fused.max_pool2};
}

class ConvLayer final : public Layer<ConvLayer> {
 public:
  /// `layer`: a convolution of `in` channels.
  ConvLayer(const LayerSpec& layer, int64_t in, DType dtype)
      : stride_(layer.stride),
        padding_(layer.padding),
        weight_(
            Variable::leaf(Tensor::zeros({layer.out, in, layer.kernel.height, layer.kernel.width}, dtype))) {
    if (layer.bias) bias_ = Variable::leaf(Tensor::zeros({layer.out}, dtype));
  }

  template <TensorLike X>
  X run(const X& x, const Pass& pass, Fused fused) const {  // [N, in, H, W]
    if (fused.norm)
      return fused.norm->behind(padded(x, padding_), as<X>(weight_, pass), as<X>(bias_, pass),
                                conv_options(stride_, padding_, {}), pass, fused);
    return conv2d(padded(x, padding_), as<X>(weight_, pass), as<X>(bias_, pass),
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
  int64_t stride_;
  Extent padding_;
  Variable weight_;  // [out, in, kernel_h, kernel_w]
  Variable bias_;    // [out], or undefined
};

}  // namespace hashgrad
