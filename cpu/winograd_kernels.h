// The transforms of Winograd's convolution F(2x2, 3x3), and of 5x5 kernels as four of those (cpu/winograd.h,
// cpu/kernels.h).
#pragma once

#include <cstdint>

#include "cpu/kernels.h"

namespace hashgrad::cpu {

/// What becomes of 16 products for each tile of 2x2 outputs of some channels.
struct WinogradOutput {
  const float* products;  // [16][rows][stride]
  int64_t rows, tiles, stride;
  int64_t apart;          // elements from one of the 16 to the next
  const float* bias;      // [rows] or null
  bool relu;              // max(x, 0), NaN stays NaN
  const int64_t* places;  // [tiles]: where each one's upper left output lies in y, or its pooled one
  float* y;               // rows `plane` elements apart
  int64_t plane;
  int64_t width;    // of a line of outputs; 0: a tile is pooled to its maximum
  uint8_t* argmax;  // like y, where that is pooled: 2 * row + column of the first maximum; or null
};

/// The 3x3 numbers of a kernel from row 2 down and column 2 right on. A kernel of 3x3 has one, of 5x5 four:
/// they overlap in a row or column, which counts in the upper or left one; the others have zeros there.
struct WinogradQuarter {
  int64_t down, right;  // 0 or 1
};

struct WinogradKernels {
  /// A panel of the 4x4 inputs of at most nr tiles, transformed: [16][channel][nr], B^T d B by rows, the 16
  /// `apart` elements from each other. u.tap_offsets: 16 for each channel, u.tap_count of them in all. A last
  /// vector that is past all tiles is left as it is: no product reads it.
  void (*transform_input)(const Unfold<float>& u, int64_t apart);
  /// The same (sums with what was left as it was are not used) for pairs of neighbouring channels: words of
  /// two bf16 numbers (cpu/pair_kernels.h), rounded when they are transformed, [16][pair][nr]; the last of an
  /// odd number of channels is paired with zeros. Null where the instruction set has no products of such
  /// pairs.
  void (*transform_input_pairs)(const Unfold<float>& u, int64_t apart);
  /// y = A^T m A + bias, then the ReLU.
  void (*transform_output)(const WinogradOutput&);
  /// G g G^T of a quarter of some filters, weight [rows <= mr, channels, side, side], as panels of operand A:
  /// [16][channel][mr], the 16 `apart` elements from each other, zeros where there are no rows.
  void (*transform_weight)(int64_t rows, int64_t channels, int64_t side, const WinogradQuarter& quarter,
                           const float* weight, float* panels, int64_t apart);
};

HASHGRAD_BF16_KERNEL_TABLE(WinogradKernels, winograd_kernels)

}  // namespace hashgrad::cpu
