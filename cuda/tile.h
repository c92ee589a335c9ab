// How one block computes a tile of C = A B: operands on their way into shared memory, the products of a step
// in the registers of its threads, and the tile's way out. cuda/product.h makes a kernel of these pieces.
#pragma once

#include "cuda/async_copy.h"
#include "cuda/gpu.h"
#include "cuda/pack.h"

namespace hashgrad::HASHGRAD_GPU {

/// Which way the elements of an operand lie side by side in memory.
enum class Along { index, depth, either };

/// a * b + c; on a GPU rounded once, whatever stands around it.
template <class T>
__device__ __forceinline__ T multiply_add(T a, T b, T c) {
#if HASHGRAD_EMULATED
  return a * b + c;  // fma() would be a function call here
#else
  return fma(a, b, c);
#endif
}

/// The piece of C that one block computes, the depth of one step, and the piece of it that one thread keeps
/// in registers.
template <int rows_, int columns_, int depth_, int thread_rows_, int thread_columns_>
struct Tile {
  static constexpr int rows = rows_, columns = columns_, depth = depth_;
  static constexpr int thread_rows = thread_rows_, thread_columns = thread_columns_;
  static constexpr int down = rows / thread_rows, across = columns / thread_columns;  // threads
  static constexpr int threads = down * across;
  static constexpr int resident = 512 / threads;  // blocks per multiprocessor: leaves a thread 128 registers
  // A thread's rows lie in groups of up to four, so that a fragment is read 16 bytes at a time, and the
  // groups far apart, so that a warp reads neighbouring groups and meets no bank twice. Columns likewise.
  static constexpr int row_group = thread_rows < 4 ? thread_rows : 4;
  static constexpr int column_group = thread_columns < 4 ? thread_columns : 4;
};

/// Shared memory of one depth of an operand. The extra elements put the stores of an operand that is
/// transposed on the way into different banks, and keep lines at multiples of 16 bytes.
template <class T, int width>
struct alignas(16) Line {
  T at[width + 4];
};

/// Brings [width, depth] of one operand per step into shared memory, line after line of constant depth. Each
/// thread moves `count` packs, neighbouring threads neighbouring packs: first into registers (fetch, before a
/// step's products, so that they hide the wait), then into shared memory (store, after them); or, where
/// nothing has to be turned or computed, straight there with cp.async.
template <class Loader, int width, int depth, int threads>
struct Feeder {
  using T = typename Loader::Element;
  static constexpr int vector = Loader::vector, packs = width * depth / vector,
                       count = (packs + threads - 1) / threads;
  static constexpr int packs_across = width / vector;  // of one depth, along the indices
  static constexpr int packs_down = depth / vector;    // of one index, along the depth
  static_assert(packs_across % threads == 0 || threads % packs_across == 0);
  static_assert(threads % packs_down == 0);

  // A thread's packs lie under each other, with one row for all, as far as the threads go round the whole
  // width.
  static constexpr int rows_across = packs_across > threads ? packs_across / threads : 1;
  static constexpr int row_count = Loader::along == Along::index ? rows_across : count;

  typename Loader::Row rows[row_count];
  Pack<T, vector> staged[count] = {};

  static __device__ bool along_depth(const Loader& load) {
    if constexpr (Loader::along == Along::either)
      return load.along_depth();
    else
      return Loader::along == Along::depth;
  }
  __device__ const typename Loader::Row& row(int e) const { return rows[e % row_count]; }

  /// Pack e of this thread: its number in the block, and where that is.
  static __device__ int number(int e) { return static_cast<int>(threadIdx.x) + e * threads; }
  static __device__ int index(int e, bool down) {
    return down ? number(e) / packs_down : number(e) % packs_across * vector;
  }
  static __device__ int k(int e, bool down) {
    return down ? number(e) % packs_down * vector : number(e) / packs_across;
  }
  static __device__ bool exists(int e) { return packs % threads == 0 || number(e) < packs; }

  /// For the indices [first, first + width) of `extent`; those beyond repeat the last one.
  __device__ void aim(Loader& load, int64_t first, int64_t extent) {
    const bool down = along_depth(load);
    const int64_t rest = extent - first - (down ? 1 : vector);
    const int last = rest < width ? static_cast<int>(rest) : width;
    load.move_to(first);
    GPU_UNROLL
    for (int e = 0; e < row_count; ++e) {
      const int at = index(e, down);
      rows[e] = load.row(at < last ? at : last);
    }
  }

  /// Depths [k0, k0 + depth), as far as they lie before `end`.
  __device__ void fetch(const Loader& load, int k0, int end, Line<T, width>* lines) {
    if (along_depth(load)) {  // all packs of a thread share one depth
      const int here = k0 + k(0, true);
      if (here >= end) return;
      const auto depth_here = load.depth(here);
      GPU_UNROLL
      for (int e = 0; e < count; ++e) staged[e] = load.at(row(e), depth_here);
      return;
    }
    GPU_UNROLL
    for (int e = 0; e < count; ++e) {
      const int here = k0 + k(e, false);
      if (here >= end || !exists(e)) continue;
      if constexpr (Loader::copies)
        cp_async<16>(&lines[k(e, false)].at[index(e, false)], load.address(row(e), load.depth(here)));
      else
        staged[e] = load.at(row(e), load.depth(here));
    }
  }

  __device__ void store(const Loader& load, Line<T, width>* lines) const {
    const bool down = along_depth(load);
    if (Loader::copies && !down) return;
    GPU_UNROLL
    for (int e = 0; e < count; ++e) {
      if (!exists(e)) continue;
      const int at = index(e, down), line = k(e, down);
      if (down) {
        GPU_UNROLL
        for (int v = 0; v < vector; ++v) lines[line + v].at[at] = staged[e].at[v];
      } else {
        *reinterpret_cast<Pack<T, vector>*>(&lines[line].at[at]) = staged[e];
      }
    }
  }
};

/// The extents of a product and how it is cut up.
struct ProductShape {
  int64_t m, n;
  int k;
  int part;   // depth of one part, a multiple of 32
  int parts;  // at least one, also when k is 0
  unsigned tiles_m, tiles_n;
};

/// A thread's rows or columns of one line, group by group.
template <int count, int group, int stride, class T>
__device__ __forceinline__ void read_fragment(const T* line, T (&fragment)[count]) {
  GPU_UNROLL
  for (int g = 0; g < count / group; ++g) {
    const auto pack = *reinterpret_cast<const Pack<T, group>*>(line + g * stride);
    GPU_UNROLL
    for (int i = 0; i < group; ++i) fragment[g * group + i] = pack.at[i];
  }
}

/// What a thread holds of one row and column of its sums: an element of C, or more.
template <class Tile, class T>
struct SumOf {
  using type = T;
};

/// This thread's place in the tile: warps are rectangles of 8 x 4 threads where the tile allows, so that a
/// warp reads as few different elements as it can.
template <class Tile>
struct Place {
  int row, column;  // of its first group
  __device__ Place() {
    constexpr int tall = Tile::down < 4 ? Tile::down : 4, wide = 32 / tall;
    static_assert(Tile::across % wide == 0 && Tile::down % tall == 0);
    const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
    row = (warp / (Tile::across / wide) * tall + lane / wide) * Tile::row_group;
    column = (warp % (Tile::across / wide) * wide + lane % wide) * Tile::column_group;
  }
};

/// The products of one step: the outer products of `depths` lines, added to the thread's piece of C.
template <class Tile, bool whole, class T>
__device__ __forceinline__ void multiply_step(const Place<Tile>& place, const Line<T, Tile::rows>* a,
                                              const Line<T, Tile::columns>* b, int depths,
                                              T (&sums)[Tile::thread_rows][Tile::thread_columns]) {
  constexpr int row_stride = Tile::down * Tile::row_group, column_stride = Tile::across * Tile::column_group;
  const auto outer_product = [&](int k) {
    T left[Tile::thread_rows], right[Tile::thread_columns];
    read_fragment<Tile::thread_rows, Tile::row_group, row_stride>(&a[k].at[place.row], left);
    read_fragment<Tile::thread_columns, Tile::column_group, column_stride>(&b[k].at[place.column], right);
    GPU_UNROLL
    for (int i = 0; i < Tile::thread_rows; ++i) {
      GPU_UNROLL
      for (int j = 0; j < Tile::thread_columns; ++j) sums[i][j] = multiply_add(left[i], right[j], sums[i][j]);
    }
  };
  if constexpr (whole) {
    GPU_UNROLL
    for (int k = 0; k < Tile::depth; ++k) outer_product(k);
  } else {
    for (int k = 0; k < depths; ++k) outer_product(k);
  }
}

/// Hides from the optimiser that `value` stays what it is: what is computed from it after here is not
/// computed before, to occupy registers through a loop in between.
__device__ __forceinline__ void compute_from_here(int& value) {
#if HASHGRAD_EMULATED
  static_cast<void>(value);
#else
  asm volatile("" : "+r"(value));
#endif
}

/// Hands the thread's piece of C to the sink.
template <class Tile, class T, class Sink>
__device__ void deliver(const ProductShape& s, Place<Tile> place, int64_t row0, int64_t column0, int part,
                        const T (&sums)[Tile::thread_rows][Tile::thread_columns], const Sink& sink) {
  compute_from_here(place.row);
  compute_from_here(place.column);
  constexpr int group = Tile::column_group;
  GPU_UNROLL
  for (int g = 0; g < Tile::thread_columns / group; ++g) {
    const int64_t j = column0 + place.column + g * Tile::across * group;
    if (j >= s.n) continue;
    const auto column = sink.template column<group>(j);
    GPU_UNROLL
    for (int i = 0; i < Tile::thread_rows; ++i) {
      const int64_t row =
          row0 + place.row + i / Tile::row_group * (Tile::down * Tile::row_group) + i % Tile::row_group;
      Pack<T, group> values;
      GPU_UNROLL
      for (int v = 0; v < group; ++v) values.at[v] = sums[i][g * group + v];
      if (row < s.m) sink.put(row, column, part, values);
    }
  }
}

}  // namespace hashgrad::HASHGRAD_GPU
