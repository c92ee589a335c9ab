// JPEG compression as a defence (Das et al., 2017; Guo et al., ICLR 2018), and feature distillation (Liu et
// al., CVPR 2019), which is the same codec with another quantisation table.
#pragma once

#include <array>

#include "nn/input_transform.h"

namespace hashgrad {

/// What a baseline JPEG file leaves of an image (ITU-T T.81, JFIF colours), without the lossless part: pixels
/// of 8 bits; of three channels luma and chroma, both at full resolution; blocks of 8x8 minus 128, the edge
/// pixels repeated to fill the last ones; their cosine transform in multiples of the table's entries; and
/// back, 8 bits at each stage. All rounding takes halves to the even neighbour, all arithmetic is float64.
/// Constant between its steps: the derivative is exactly zero. Images have 1 or 3 channels.
class Jpeg final : public InputTransform {
 public:
  /// Step of each coefficient in row-major order, [0] the mean's.
  using Table = std::array<double, 64>;
  Jpeg(const Table& luma, const Table& chroma) : luma_(luma), chroma_(chroma) {}
  Tensor forward(const Tensor& x) const override;

 private:
  Table luma_, chroma_;
};

/// T.81's tables K.1 and K.2 at quality 1 to 100, scaled as the Independent JPEG Group's codec does it:
/// s = 5000 / quality below 50, else 200 - 2 quality; entries floor((entry * s + 50) / 100), in [1, 255].
InputTransformPtr jpeg(int64_t quality);
/// One table for all channels: step 1 for the 15 coefficients with row + column <= 4, 1 + step for the
/// other 49.
InputTransformPtr feature_distillation(int64_t step);

}  // namespace hashgrad
