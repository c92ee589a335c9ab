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
// over k ascending inside a part (on tensor cores, of sums of 16 products), and the Sink adds parts in their order. Neither the tile, nor whether one block or many
// work on the parts, nor M, N or the neighbours change a bit.
// clang-format on
#pragma once

#include <algorithm>

#include "core/math_mode.h"
#include "cuda/runtime.h"
#include "cuda/tensor_tile.h"
#include "cuda/tile.h"

namespace hashgrad::HASHGRAD_GPU {

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
    typename SumOf<Tile, T>::type sums[Tile::thread_rows][Tile::thread_columns] = {};
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
  big,         // 128 x 128: a fragment of 8 + 8 elements feeds 64 products
  mid,         // 64 x 64
  low,         // 32 x 128: few rows, for instance the output channels of a first layer
  flat,        // 16 x 128
  thin,        // 4 x 256: one to four rows, the input gradient of a first layer
  tall,        // 128 x 16: few columns, for instance ten classes
  small,       // 32 x 32: few elements altogether
  tensor_big,  // 128 x 128 and 64 x 64 on tensor cores, for Math::bf16
  tensor_mid,
};
struct FormSize {
  Form form;
  int64_t rows, columns;
};
inline constexpr FormSize form_sizes[] = {{Form::big, 128, 128}, {Form::mid, 64, 64},
                                          {Form::low, 32, 128},  {Form::flat, 16, 128},
                                          {Form::tall, 128, 16}, {Form::small, 32, 32}};
inline constexpr FormSize tensor_sizes[] = {{Form::tensor_big, 128, 128}, {Form::tensor_mid, 64, 64}};

/// Blocks below which part of a large GPU idles: a smaller tile then wins, though it reads more per product.
inline constexpr int64_t enough_blocks = 128;

inline int64_t tiles_of(int64_t m, int64_t n, int64_t rows, int64_t columns) {
  return blocks_for(m, rows) * blocks_for(n, columns);
}

/// A set of forms: those that a caller uses, so that the others are not compiled.
constexpr unsigned bit(Form form) { return 1u << static_cast<int>(form); }
constexpr unsigned tensor_forms = bit(Form::tensor_big) | bit(Form::tensor_mid);

/// Whether products of T with these forms are computed on tensor cores: where the calling thread wants bf16.
/// An Error on a device that has none, and where split operands are wanted.
template <unsigned forms, class T>
bool on_tensor_cores() {
  check(!std::is_same_v<T, float> || math_mode() == Math::fp32 || math_mode() == Math::bf16,
        "math {} is the CPU's alone (accepted here: fp32, bf16)", name_of(math_mode()));
  if (!std::is_same_v<T, float> || (forms & tensor_forms) == 0 || math_mode() != Math::bf16) return false;
  check(properties().major >= 8, "products in bf16 need a device of compute capability 8.0, this is {}.{}",
        properties().major, properties().minor);
  return true;
}

/// The largest tile of `forms` that is at least half full and leaves `enough_blocks`, times the parts that K
/// can be spread over; else a small one. Changes no bit of the result.
template <unsigned forms, class T>
FormSize choose_form(int64_t m, int64_t n, int64_t parts) {
  const auto suits = [&](const FormSize& f) {
    return 2 * m > f.rows && 2 * n > f.columns && tiles_of(m, n, f.rows, f.columns) * parts >= enough_blocks;
  };
  if (on_tensor_cores<forms, T>()) {
    const bool big = (forms & bit(Form::tensor_big)) != 0 && suits(tensor_sizes[0]);
    return big ? tensor_sizes[0] : tensor_sizes[1];
  }
  for (const FormSize& f : form_sizes)
    if ((forms & bit(f.form)) != 0 && suits(f)) return f;
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
    if constexpr ((forms & bit(Form::tensor_big)) != 0)
      if (is(Form::tensor_big)) return launch_product<TensorTile<128, 128, 64, 32>>(s, layers, a, b, sink);
    if constexpr ((forms & bit(Form::tensor_mid)) != 0)
      if (is(Form::tensor_mid)) return launch_product<TensorTile<64, 64, 32, 32>>(s, layers, a, b, sink);
  } else {
    if (is(Form::big) || is(Form::mid)) return launch_product<Tile<64, 64, 8, 4, 4>>(s, layers, a, b, sink);
  }
  launch_product<Tile<32, 32, 16, 2, 4>>(s, layers, a, b, sink);
}

}  // namespace hashgrad::HASHGRAD_GPU
