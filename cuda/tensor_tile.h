// Tiles of cuda/tile.h on tensor cores, for operands that may be rounded to bf16.
#pragma once

#include "cuda/mma.h"
#include "cuda/tile.h"

namespace hashgrad::HASHGRAD_GPU {

/// A tile for tensor cores: warps compute rectangles of C of their own, as pieces of 16 x 8, from operands
/// rounded to bf16 on their way from shared memory to registers.
//
// What bounds it? Shared memory, which holds floats: with rectangles of 64 x 32 a warp reads 48 times 128
// bytes per depth of 16 (no bank twice, as lines are 4 elements longer than a power of two) for 65,536 flops,
// and the stores of the next step take a third of that again: 1,000 flops per cycle and multiprocessor, four
// times as many as without tensor cores, a quarter of what those could do.
template <int rows_, int columns_, int warp_rows_, int warp_columns_>
struct TensorTile {
  static constexpr int rows = rows_, columns = columns_, depth = 16;
  static constexpr int warp_rows = warp_rows_, warp_columns = warp_columns_;
  static constexpr int warps_across = columns / warp_columns;
  static constexpr int threads = rows / warp_rows * warps_across * 32;
  static constexpr int resident = 512 / threads;
  static constexpr int thread_rows = warp_rows / 16, thread_columns = warp_columns / 8;  // pieces
};
template <class Tile>
concept OnTensorCores = requires {
  Tile::warp_rows;
};

struct PieceShare {
  float at[4];
};
template <OnTensorCores Tile>
struct SumOf<Tile, float> {
  using type = PieceShare;
};

/// Where its warp's rectangle starts, and the thread's row (or column) and depth in each piece.
template <OnTensorCores Tile>
struct Place<Tile> {
  int row, column, g, t;
  __device__ Place() {
    const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
    row = warp / Tile::warps_across * Tile::warp_rows;
    column = warp % Tile::warps_across * Tile::warp_columns;
    g = lane / 4;
    t = lane % 4;
  }
};

/// Depths k and k + 1 of one row or column, rounded; those from `depths` on are 0.
template <bool whole, int width>
__device__ __forceinline__ unsigned bf16_pair(const Line<float, width>* lines, int k, int index, int depths) {
  const float low = whole || k < depths ? lines[k].at[index] : 0.0f;
  const float high = whole || k + 1 < depths ? lines[k + 1].at[index] : 0.0f;
  return pack_bf16(low, high);
}

template <OnTensorCores Tile, bool whole>
__device__ __forceinline__ void multiply_step(const Place<Tile>& place, const Line<float, Tile::rows>* a,
                                              const Line<float, Tile::columns>* b, int depths,
                                              PieceShare (&sums)[Tile::thread_rows][Tile::thread_columns]) {
  const int k = 2 * place.t;
  unsigned left[Tile::thread_rows][4];
  GPU_UNROLL
  for (int i = 0; i < Tile::thread_rows; ++i) {
    const int row = place.row + 16 * i + place.g;
    left[i][0] = bf16_pair<whole>(a, k, row, depths);
    left[i][1] = bf16_pair<whole>(a, k, row + 8, depths);
    left[i][2] = bf16_pair<whole>(a, k + 8, row, depths);
    left[i][3] = bf16_pair<whole>(a, k + 8, row + 8, depths);
  }
  GPU_UNROLL
  for (int j = 0; j < Tile::thread_columns; ++j) {
    const int column = place.column + 8 * j + place.g;
    const unsigned right[2] = {bf16_pair<whole>(b, k, column, depths),
                               bf16_pair<whole>(b, k + 8, column, depths)};
    GPU_UNROLL
    for (int i = 0; i < Tile::thread_rows; ++i) mma_bf16_16x8x16(sums[i][j].at, left[i], right);
  }
}

/// The same for pieces, of which a thread has two columns in two rows: it trades one of these pairs with its
/// neighbour, so that each has four columns in one row.
template <OnTensorCores Tile, class Sink>
__device__ void deliver(const ProductShape& s, const Place<Tile>& place, int64_t row0, int64_t column0,
                        int part, const PieceShare (&sums)[Tile::thread_rows][Tile::thread_columns],
                        const Sink& sink) {
  const bool odd = place.t % 2 == 1;
  GPU_UNROLL
  for (int j = 0; j < Tile::thread_columns; ++j) {
    const int64_t first = column0 + place.column + 8 * j + place.t / 2 * 4;
    const auto column = sink.template column<4>(first < s.n ? first : 0);
    GPU_UNROLL
    for (int i = 0; i < Tile::thread_rows; ++i) {
      const float(&c)[4] = sums[i][j].at;
      const float other0 = __shfl_xor_sync(0xffffffffu, odd ? c[0] : c[2], 1);
      const float other1 = __shfl_xor_sync(0xffffffffu, odd ? c[1] : c[3], 1);
      const Pack<float, 4> values =
          odd ? Pack<float, 4>{other0, other1, c[2], c[3]} : Pack<float, 4>{c[0], c[1], other0, other1};
      const int64_t row = row0 + place.row + 16 * i + place.g + (odd ? 8 : 0);
      if (first < s.n && row < s.m) sink.put(row, column, part, values);
    }
  }
}

}  // namespace hashgrad::HASHGRAD_GPU
