// Rounding to fixed-point numbers, with the straight-through gradient that quantised networks are trained and
// attacked by.
#pragma once

#include "autograd/node.h"

namespace hashgrad {

/// Numbers of `width` bits in two's complement, `point` of which, the sign among them, stand in front of the
/// binary point: the multiples of 2^(point - width) in [-2^(point-1), 2^(point-1)). Width 8, point 2: [-2, 2
/// - 1/64], step 1/64.
struct FixedPointFormat {
  int width = 8;  // 2 to 32
  int point = 2;  // 1 to width

  bool operator==(const FixedPointFormat&) const = default;

  double step() const;          ///< between neighbours
  int64_t lowest_code() const;  ///< a number is code * step()
  /// The largest code that the element type holds exactly: 2^(width-1) - 1, but in float32 its 24 bits of
  /// fraction end it earlier from width 26 on (width 32: 2^31 - 128).
  int64_t highest_code(DType dtype) const;
};

/// Throws, opening with `what`, unless the format is one of those above.
void check_format(const FixedPointFormat& format, const std::string& what);

struct FixedPoint {
  static constexpr const char* name = "fixed_point";
  FixedPointFormat format;
  Tensor rounded = {};  // saved: round(x / step), not yet clipped
  Tensor forward(Needs needs, const Tensor& in);
  Gradients<1> backward(Needs needs, const Tensor& dy, int64_t copies) const;
};

/// clip(round(x / step), lowest code, highest code) * step, halves to even; NaN stays NaN. The gradient
/// treats the rounding as the identity and the clip as what it is: 1 where round(x / step) is a code, 0 where
/// it was clipped.
template <TensorLike X>
X fixed_point(const X& x, const FixedPointFormat& format) {
  return apply(FixedPoint{format}, x);
}

}  // namespace hashgrad
