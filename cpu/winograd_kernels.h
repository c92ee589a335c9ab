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

/// Some of the 4x4 places: a row of them, or the one of it in a column that is not negative.
struct WinogradPlaces {
  int64_t row, column;
};

/// Gradients of 2x2 outputs, dealt: [rows][4][stride], those at the upper left, upper right, lower left and
/// lower right of each tile, zeros behind the last one up to a multiple of pair_depth.
struct WinogradGradient {
  const float* dealt;
  int64_t rows, tiles, stride;
  WinogradPlaces places;
  float* out;
  int64_t ld, apart;  // elements from one row to the next, and from one place
};

/// Inputs by channels: padded images of nr channels, [pixel][nr].
struct WinogradLanes {
  const float* pixels;
  const int64_t* tiles;  // [count]: where each one's upper left pixel lies
  int64_t count, line;   // line: elements from one row of pixels to the next
  WinogradPlaces places;
  float* out;
  int64_t apart;  // elements from one place to the next
};

/// The sums of one output channel and nr input channels, `chunks` times, for each of the 16 places.
struct WinogradSums {
  const float* sums;
  int64_t chunks, chunk_apart, apart;
  int64_t channels;  // that there are
  float* dweight;    // [channels, 3, 3]
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

  /// The weight gradient. A dy A^T of tiles, by [place][row][tile]; whole vectors are written. As pairs of
  /// neighbouring tiles they are panels of operand A (cpu/pair_kernels.h), one after the other, and ld is not
  /// asked for.
  void (*transform_gradient)(const WinogradGradient&);
  void (*transform_gradient_pairs)(const WinogradGradient&);
  /// B^T d B of tiles as a panel of operand B for each place, [tile][nr], or [pair of tiles][nr] with zeros
  /// up to a multiple of pair_depth.
  void (*transform_lanes)(const WinogradLanes&);
  void (*transform_lanes_pairs)(const WinogradLanes&);
  /// G^T m G of the sums m of all chunks, added up in their order.
  void (*transform_sums)(const WinogradSums&);
};

HASHGRAD_BF16_KERNEL_TABLE(WinogradKernels, winograd_kernels)

}  // namespace hashgrad::cpu
