// Batch normalisation of channels [N,C,H,W] or features [N,C].
#pragma once

#include "autograd/ops/batch_norm.h"
#include "autograd/ops/conv_norm.h"
#include "nn/module.h"

namespace hashgrad {

class BatchNormLayer final : public Layer<BatchNormLayer> {
 public:
  BatchNormLayer(int64_t channels, double eps, double momentum, DType dtype)
      : eps_(eps),
        momentum_(momentum),
        weight_(Variable::leaf(Tensor::full({channels}, 1, dtype))),
        bias_(Variable::leaf(Tensor::zeros({channels}, dtype))),
        running_mean_(Tensor::zeros({channels}, dtype)),
        running_var_(Tensor::full({channels}, 1, dtype)),
        num_batches_tracked_(Tensor::zeros({}, DType::int64)) {}

  template <TensorLike X>
  X run(const X& x, const Pass& pass, Fused fused) const {  // [N, C, ...]
    return batch_norm(x, as<X>(weight_, pass), as<X>(bias_, pass), running_mean_, running_var_,
                      options(pass, fused), num_batches_tracked_, added<X>(fused));  // [N, C, ...]
  }

  /// The same behind a convolution, in one op: inference only.
  template <TensorLike X>
  X behind(const X& x, const X& weight, const X& bias, const Conv2dOptions& conv, const Pass& pass,
           const Fused& fused) const {
    return conv_norm(x, weight, bias, conv, as<X>(weight_, pass), as<X>(bias_, pass), running_mean_,
                     running_var_, options(pass, fused), added<X>(fused));  // [N, C, ...]
  }

  std::vector<Parameter> parameters() override { return {{"weight", &weight_}, {"bias", &bias_}}; }
  std::vector<Buffer> buffers() override {
    return {{"running_mean", &running_mean_},
            {"running_var", &running_var_},
            {"num_batches_tracked", &num_batches_tracked_}};
  }

 private:
  BatchNormOptions options(const Pass& pass, const Fused& fused) const {
    return {pass.training, momentum_, eps_, fused.relu ? Activation::relu : Activation::none};
  }
  template <TensorLike X>
  static X added(const Fused& fused) {
    if constexpr (std::is_same_v<X, Tensor>)
      return fused.added.value();
    else
      return fused.added;
  }

  double eps_, momentum_;
  Variable weight_, bias_;  // [C]
  // Training moves these: the one thing that a forward pass changes.
  mutable Tensor running_mean_, running_var_;  // [C]
  mutable Tensor num_batches_tracked_;         // []
};

}  // namespace hashgrad
