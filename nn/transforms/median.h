// Median smoothing (feature squeezing: Xu, Evans and Qi, NDSS 2018; there scipy's median_filter).
#pragma once

#include "nn/input_transform.h"

namespace hashgrad {

/// Per channel, the median of the size x size window around each pixel: rows i - size / 2 to i - size / 2 +
/// size - 1, columns alike, so that of a 2x2 window the pixel is the lower right corner. Of an even number of
/// values it is the upper median, with no averaging. The image is mirrored at its edges, the edge pixel
/// repeated. The derivative goes to the pixel that was selected, of equals the one with the lowest number in
/// its plane. NaN in a window: NaN.
class Median final : public InputTransform {
 public:
  explicit Median(int64_t size) : size_(size) {}
  Tensor forward(const Tensor& x) const override;
  Tensor backward(const Tensor& x, const Tensor& dy, int64_t copies) const override;

 private:
  int64_t size_;
};

}  // namespace hashgrad
