// The inside of products in bf16, alone or split (core/math_mode.h), one copy per instruction set
// (cpu/kernels.h).
//
// An operand P[index, k] is stored as *parts*: bf16 numbers whose sum is the float rounded to 8, 16 or 24
// significant bits. Two neighbours in depth make a *pair*, a 32-bit word with the even k in its low half. A
// product of two operands of p parts is the sum of their p (p + 1) / 2 largest products of parts.
#pragma once

#include <cstdint>

#include "cpu/kernels.h"

namespace hashgrad::cpu {

inline constexpr int64_t pair_panel = 32;  // indices of a panel, of A and of B
inline constexpr int64_t pair_depth = 32;  // depth of a tile: 16 pairs

/// Words of one panel of `depth` terms, rounded up to whole tiles. (static: see cpu/README.md, "One source".)
static inline int64_t pair_panel_words(int64_t depth, int parts) {
  return (depth + pair_depth - 1) / pair_depth * parts * (pair_panel * pair_depth / 2);
}

/// A block of a matrix to be packed: P[i, k] = source[i * index_stride + k * depth_stride], one of the
/// strides being 1, for i in [0, count), k in [0, depth). Filled up with zeros to whole panels and tiles.
struct PairSource {
  const float* source;
  int64_t index_stride, depth_stride, count, depth;
  int parts;
};

/// Two planes to be made one of pairs: out[part * part_stride + y * row_stride + x] = (even[y, x], odd[y,
/// x]).
struct PairPlanes {
  const float *even, *odd;  // [height, width]; odd null: zeros
  int64_t height, width;
  int parts;
  uint32_t* out;
  int64_t row_stride, part_stride;
};

/// Where 16 neighbouring outputs of a convolution read a padded plane: lane l of run i, if bit l of its mask
/// is set, reads element offset + l.
struct PixelRuns {
  static constexpr int most = 4;
  int64_t offsets[most];
  uint16_t masks[most];
  int count;  // 0: more than four; their offsets are read one by one
};

/// One panel of B, P[pixel, 2 t + half] = half of image[pixel_offsets[pixel] + tap_offsets[t]]: a
/// convolution's image, unfolded while packing. Pairs are neighbouring channels.
struct PairUnfold {
  const uint32_t* image;  // padded, all parts
  int64_t part_stride;
  int parts;
  const PixelRuns* runs;         // [2], of the panel
  const int64_t* pixel_offsets;  // [32]
  const int64_t* tap_offsets;    // [tap_count], readable up to a multiple of 16
  int64_t tap_count;
  uint32_t* panel;
};

/// Rows of several planes side by side: out[part * part_stride + (y * images + i) * width + x] = a part of
/// planes[i * plane_stride + y * row_stride + x], for y in [0, rows), i in [0, images), x in [0, width). Up
/// to 15 floats behind a row are read.
struct PairLines {
  const float* planes;
  int64_t rows, row_stride, images, plane_stride, width;
  float* lines;  // room for rows * images * width + 16, unless there is but one image
  int parts;
  uint16_t* out;
  int64_t part_stride;
};

/// One panel of A, P[t, k] = halves[tap_offsets[t] + k]: pixels of up to 32 taps.
struct PairRows {
  const uint16_t* halves;
  int64_t part_stride;
  int parts;
  const int64_t* tap_offsets;  // [taps]
  int64_t taps, depth;         // depth a multiple of pair_depth
  uint32_t* panel;
};

/// One block of depth of C = A B, of packed pairs: the sums go on from block to block in squares of 32 x 32,
/// one after the other in memory (in C, rows 4 KB apart would share one set of the cache), and the last block
/// brings them to C, with the epilogue of GemmBlock.
struct PairBlock {
  int64_t rows, columns, depth;
  int parts;
  const uint32_t* a;  // ceil(rows / 32) panels
  const uint32_t* b;  // ceil(columns / 32) panels
  float* sums;        // [ceil(columns / 32), ceil(rows / 32), 32, 32], aligned to 64 bytes
  bool first, last;
  float* c = nullptr;  // [rows, ldc]; this and what follows count in the last block only
  int64_t ldc = 0;
  const float* row_bias = nullptr;     // [rows] or null
  const float* column_bias = nullptr;  // [columns] or null
  bool accumulate = false, relu = false;
  bool turned = false;  // c is [columns, ldc], and there is neither bias nor accumulation
};

/// Floats of the sums of a block. (static: as above.)
static inline int64_t pair_sums(int64_t rows, int64_t columns) {
  return (rows + pair_panel - 1) / pair_panel * ((columns + pair_panel - 1) / pair_panel) * pair_panel *
         pair_panel;
}

struct PairKernels {
  void (*pack_a)(const PairSource&, uint32_t* panels);
  void (*pack_b)(const PairSource&, uint32_t* panels);
  void (*pair_planes)(const PairPlanes&);
  void (*split_lines)(const PairLines&);
  void (*unfold)(const PairUnfold&);
  void (*unfold_rows)(const PairRows&);
  /// block() may be called on this thread between tiles(true) and tiles(false).
  void (*tiles)(bool on);
  void (*block)(const PairBlock&);
};

HASHGRAD_BF16_KERNEL_TABLE(PairKernels, pair_kernels)

}  // namespace hashgrad::cpu
