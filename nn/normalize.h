// Per-channel normalisation of the input, inside the model, so that images (and an attack's eps) stay in
// pixels.
#pragma once

#include "autograd/ops/arithmetic.h"
#include "nn/module.h"

namespace hashgrad {

class NormLayer final : public Layer<NormLayer> {
 public:
  /// One mean and deviation for all channels, or one per channel.
  NormLayer(const std::vector<double>& means, const std::vector<double>& deviations, DType dtype)
      : mean_(per_channel(means, dtype)), deviation_(per_channel(deviations, dtype)) {}

  template <TensorLike X>
  X run(const X& x, const Pass&, Fused) const {  // [N, C, H, W]
    return (x - X(mean_)) / X(deviation_);       // [N, C, H, W]
  }

  void move(Device device) override {
    mean_ = mean_.to(device);
    deviation_ = deviation_.to(device);
  }

 private:
  static Tensor per_channel(const std::vector<double>& values, DType dtype) {
    return Tensor::of(values, {static_cast<int64_t>(values.size()), 1, 1}).to(dtype);
  }
  Tensor mean_, deviation_;  // [C, 1, 1] or [1, 1, 1]
};

}  // namespace hashgrad
