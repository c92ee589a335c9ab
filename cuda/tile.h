// clang-format off
// One matrix product for every layer, C[M,N] = A[M,K] B[K,N], as one kernel. What differs between a dense layer, a
// convolution and a hashed layer is how elements of A and B are found (a Loader) and where an element of C goes (a Sink);
// both are small structs among the kernel's parameters.
//
//   struct Loader {                  // an operand, seen as P[index, k]: index is the row of A or the column of B
//     using Element = float;
//     static constexpr int vector;   // elements that at() returns, neighbours in memory
//     static constexpr bool copies;  // address(row, depth) is where a Pack of 16 bytes lies in memory
//     static constexpr Along along;  // in which direction neighbours in memory are neighbours in P
//     bool along_depth() const;      // the answer, where that is Along::either
//     using Row = ...;               // what is worth keeping of an index all the way down the depth
//     using Depth = ...;             // what is worth computing once of a depth for all its indices
//     void move_to(int64_t first);   // indices count from here on: the first one of the block's tile
//     Row row(int index) const;      // of an index that exists; a multiple of `vector` along indices
//     Depth depth(int k) const;      // 0 <= k < K; a multiple of `vector` along the depth
//     Pack<Element, vector> at(const Row&, const Depth&) const;
//   };
//   struct Sink {
//     Column<count> column(int64_t j) const;   // of `count` columns from j on; some of them may lie beyond N
//     void put(int64_t row, const Column<count>& column, int part, const Pack<T, count>& values) const;
//   };
//
// Order of summation. K is cut into parts (the caller says how); each element of C is one chain of fused multiply-adds
// over k ascending inside a part, and the Sink adds parts in their order. Neither the tile, nor whether one block or many
// work on the parts, nor M, N or the neighbours change a bit.
// clang-format on
#pragma once

#include <algorithm>

#include "cuda/async_copy.h"
#include "cuda/gpu.h"

namespace hashgrad::HASHGRAD_GPU {

/// Which way the elements of an operand lie side by side in memory.
enum class Along { index, depth, either };

/// `count` elements that are read and written as one.
template <class T, int count>
struct alignas(sizeof(T) * count < 16 ? sizeof(T) * count : 16) Pack {
  T at[count];
};

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

/// A block computes a tile of C: step by step, the next [rows, depth] of A and [depth, columns] of B are on
/// their way while the present ones, in the other half of shared memory, are multiplied; one barrier per
/// step. blockIdx.x counts tiles; blockIdx.z is the part of K, or, with a single layer of blocks, each walks
/// through all parts in order.
template <class Tile, class A, class B, class Sink>
__global__ void __launch_bounds__(Tile::threads, Tile::resident)
    product_kernel(ProductShape s, A load_a, B load_b, Sink sink) {
  using T = typename A::Element;
  using LineA = Line<T, Tile::rows>;
  using LineB = Line<T, Tile::columns>;
  GPU_SHARED(LineA, lines_a, [2][Tile::depth]);
  GPU_SHARED(LineB, lines_b, [2][Tile::depth]);

  // Neighbouring blocks run along the shorter side of C, so that all that run at a time share what they read.
  const bool down_first = s.tiles_m <= s.tiles_n;
  const unsigned fast = down_first ? s.tiles_m : s.tiles_n, inner = blockIdx.x % fast,
                 outer = blockIdx.x / fast;
  const int64_t row0 = int64_t{down_first ? inner : outer} * Tile::rows;
  const int64_t column0 = int64_t{down_first ? outer : inner} * Tile::columns;

  const Place<Tile> place;
  Feeder<A, Tile::rows, Tile::depth, Tile::threads> a;
  Feeder<B, Tile::columns, Tile::depth, Tile::threads> b;
  a.aim(load_a, row0, s.m);
  b.aim(load_b, column0, s.n);

  const bool all_parts = gridDim.z == 1;
  const int first = all_parts ? 0 : static_cast<int>(blockIdx.z), last = all_parts ? s.parts : first + 1;
  for (int part = first; part < last; ++part) {
    const int begin = part * s.part, end = s.k - begin > s.part ? begin + s.part : s.k;
    T sums[Tile::thread_rows][Tile::thread_columns] = {};
    int half = 1;  // one step more than there are: the first only fetches
    for (int k0 = begin - Tile::depth; k0 < end && begin < end; k0 += Tile::depth, half ^= 1) {
      const int next = k0 + Tile::depth;
      const bool more = next < end;
      if (more) {
        a.fetch(load_a, next, end, lines_a[half ^ 1]);
        b.fetch(load_b, next, end, lines_b[half ^ 1]);
        cp_async_commit();
      }
      if (k0 >= begin) {
        if (next <= end)
          multiply_step<Tile, true>(place, lines_a[half], lines_b[half], Tile::depth, sums);
        else
          multiply_step<Tile, false>(place, lines_a[half], lines_b[half], end - k0, sums);
      }
      if (more) {
        a.store(load_a, lines_a[half ^ 1]);
        b.store(load_b, lines_b[half ^ 1]);
        cp_async_wait<0>();
      }
      __syncthreads();
    }
    deliver(s, place, row0, column0, part, sums, sink);
  }
}

/// The tiles to choose from. Arithmetic on doubles has half the rate or less and twice the registers: two
/// tiles do.
enum class Form {
  big,    // 128 x 128: a fragment of 8 + 8 elements feeds 64 products
  mid,    // 64 x 64
  low,    // 32 x 128: few rows, for instance the output channels of a first layer
  flat,   // 16 x 128
  thin,   // 4 x 256: one to four rows, the input gradient of a first layer
  tall,   // 128 x 16: few columns, for instance ten classes
  small,  // 32 x 32: few elements altogether
};
struct FormSize {
  Form form;
  int64_t rows, columns;
};
inline constexpr FormSize form_sizes[] = {{Form::big, 128, 128}, {Form::mid, 64, 64},
                                          {Form::low, 32, 128},  {Form::flat, 16, 128},
                                          {Form::tall, 128, 16}, {Form::small, 32, 32}};

/// Blocks below which part of a large GPU idles: a smaller tile then wins, though it reads more per product.
inline constexpr int64_t enough_blocks = 128;

inline int64_t tiles_of(int64_t m, int64_t n, int64_t rows, int64_t columns) {
  return blocks_for(m, rows) * blocks_for(n, columns);
}

/// A set of forms: those that a caller uses, so that the others are not compiled.
constexpr unsigned bit(Form form) { return 1u << static_cast<int>(form); }

/// The largest tile of `forms` that is at least half full and leaves `enough_blocks`, times the parts that K
/// can be spread over; else a small one. Changes no bit of the result.
inline FormSize choose_form(unsigned forms, int64_t m, int64_t n, int64_t parts) {
  for (const FormSize& f : form_sizes)
    if ((forms & bit(f.form)) != 0 && 2 * m > f.rows && 2 * n > f.columns &&
        tiles_of(m, n, f.rows, f.columns) * parts >= enough_blocks)
      return f;
  return {Form::small, 32, 32};
}

/// Depths and parts are counted with 32 bits.
inline constexpr int64_t largest_depth = int64_t{1} << 30;

/// Launches the product with this tile, `layers` (1 or all parts) deep.
template <class Tile, class A, class B, class Sink>
void launch_product(ProductShape s, int layers, const A& a, const B& b, const Sink& sink) {
  const int64_t tiles_m = blocks_for(s.m, Tile::rows), tiles_n = blocks_for(s.n, Tile::columns);
  const int64_t tiles = tiles_m * tiles_n;
  check(tiles < int64_t{1} << 31, "a matrix product of [{}, {}] x [{}, {}] is too large for one launch", s.m,
        s.k, s.k, s.n);
  s.tiles_m = static_cast<unsigned>(tiles_m);
  s.tiles_n = static_cast<unsigned>(tiles_n);
  launch(product_kernel<Tile, A, B, Sink>,
         dim3(static_cast<unsigned>(tiles), 1, static_cast<unsigned>(layers)), Tile::threads, 0, s, a, b,
         sink);
}

/// The same, with the tile of that form for this element type. Arithmetic on doubles has half the rate or
/// less and twice the registers: two tiles do.
template <unsigned forms, class A, class B, class Sink>
void launch_form(Form form, const ProductShape& s, int layers, const A& a, const B& b, const Sink& sink) {
  using T = typename A::Element;
  constexpr int depth = A::vector > 1 ? 16 : 8;  // single elements take more registers on their way
  const auto is = [form](Form candidate) { return form == candidate; };
  if constexpr (std::is_same_v<T, float>) {
    if constexpr ((forms & bit(Form::big)) != 0)
      if (is(Form::big)) return launch_product<Tile<128, 128, 8, 8, 8>>(s, layers, a, b, sink);
    if constexpr ((forms & bit(Form::mid)) != 0)
      if (is(Form::mid)) return launch_product<Tile<64, 64, depth, 8, 4>>(s, layers, a, b, sink);
    if constexpr ((forms & bit(Form::low)) != 0)
      if (is(Form::low)) return launch_product<Tile<32, 128, depth, 4, 8>>(s, layers, a, b, sink);
    if constexpr ((forms & bit(Form::flat)) != 0)
      if (is(Form::flat)) return launch_product<Tile<16, 128, depth, 4, 4>>(s, layers, a, b, sink);
    if constexpr ((forms & bit(Form::thin)) != 0)
      if (is(Form::thin)) return launch_product<Tile<4, 256, 8, 4, 2>>(s, layers, a, b, sink);
    if constexpr ((forms & bit(Form::tall)) != 0)
      if (is(Form::tall)) return launch_product<Tile<128, 16, depth, 8, 2>>(s, layers, a, b, sink);
  } else {
    if (is(Form::big) || is(Form::mid)) return launch_product<Tile<64, 64, 8, 4, 4>>(s, layers, a, b, sink);
  }
  launch_product<Tile<32, 32, 16, 2, 4>>(s, layers, a, b, sink);
}

}  // namespace hashgrad::HASHGRAD_GPU
