// Reduction of the bit depth (feature squeezing: Xu, Evans and Qi, NDSS 2018).
#pragma once

#include "nn/input_transform.h"

namespace hashgrad {

/// round(x (2^bits - 1)) / (2^bits - 1), halves to the even neighbour. The product is rounded once, in
/// float64, so an image has the same levels in float32 and in float64. Constant between its steps: the
/// derivative is exactly zero.
class BitDepth final : public InputTransform {
 public:
  explicit BitDepth(int64_t bits) : top_(static_cast<double>((int64_t{1} << bits) - 1)) {}
  Tensor forward(const Tensor& x) const override;

 private:
  double top_;  // the highest level
};

}  // namespace hashgrad
