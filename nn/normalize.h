// Normalisation of the input, inside the model, so that images (and an attack's eps) stay in pixels; and
// scaling by a number.
#pragma once

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/pointwise.h"
#include "autograd/ops/reduce.h"
#include "autograd/ops/view.h"
#include "nn/module.h"

namespace hashgrad {

/// Each channel minus its mean, divided by its deviation.
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

/// Each image minus the mean of its values, divided by their (biased) standard deviation, which counts as
/// 1 / sqrt(V) at least, V = C H W, so that an image of one colour becomes 0: TensorFlow's
/// per_image_standardization.
class StandardiseLayer final : public Layer<StandardiseLayer> {
 public:
  template <TensorLike X>
  X run(const X& x, const Pass&, Fused) const {         // [N, C, H, W]
    const X rows = flatten(x);                          // [N, V]
    const X centred = rows - mean(rows, 1, true);       // [N, V]
    const X variance = mean(square(centred), 1, true);  // [N, 1]
    const double least = 1 / static_cast<double>(rows.size(1));
    // The floor is put on the variance: a square root has no gradient at 0.
    const X deviation = sqrt(maximum(variance, X(number_beside(x, least))));
    return reshape(centred / deviation, x.shape());  // [N, C, H, W]
  }
};

class ScaleLayer final : public Layer<ScaleLayer> {
 public:
  explicit ScaleLayer(double factor) : factor_(factor) {}
  template <TensorLike X>
  X run(const X& x, const Pass&, Fused) const {
    return x * factor_;
  }

 private:
  double factor_;
};

}  // namespace hashgrad
