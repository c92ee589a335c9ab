// Kernels that work on rows are written once for two kinds of teams, a warp per row or a block per row.
#pragma once

#include "cpu/pointwise_functions.h"
#include "cuda/elementwise.h"
#include "cuda/gpu.h"

namespace hashgrad::HASHGRAD_GPU {

/// A warp: no barrier, and eight rows of a block at once.
struct Warp {
  static __device__ __forceinline__ int64_t rank() { return lane_id(); }
  static __device__ __forceinline__ int64_t size() { return 32; }
  static __device__ __forceinline__ int64_t first_row() { return grid_rank() / 32; }
  static __device__ __forceinline__ int64_t row_stride() { return grid_threads() / 32; }
  /// Gives every thread of the team op over the values of all.
  template <class T, class Op>
  static __device__ __forceinline__ T reduce(T value, T, Op op) {
    return warp_reduce(value, op);
  }
};

/// A block, where a row has work for all its threads.
struct Block {
  static __device__ __forceinline__ int64_t rank() { return threadIdx.x; }
  static __device__ __forceinline__ int64_t size() { return blockDim.x; }
  static __device__ __forceinline__ int64_t first_row() { return blockIdx.x; }
  static __device__ __forceinline__ int64_t row_stride() { return gridDim.x; }
  template <class T, class Op>
  static __device__ __forceinline__ T reduce(T value, T identity, Op op) {
    return block_reduce(value, identity, op);
  }
};

/// Which team a row of this length is for: a warp up to 32 columns per lane. A function of the length alone,
/// so that the bits of a row do not depend on how many there are.
constexpr bool for_warp(int64_t columns) { return columns <= 1024; }

/// Blocks for these rows, with the team that for_warp() says, or with the one given.
inline int64_t grid_of_warps(int64_t rows) { return grid_for(rows, block_size / 32); }
inline int64_t grid_of_blocks(int64_t rows) { return grid_for(rows, 1); }
inline int64_t grid_of_rows(int64_t rows, int64_t columns) {
  return for_warp(columns) ? grid_of_warps(rows) : grid_of_blocks(rows);
}

struct Plus {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};

/// An element of a row on its way to be the largest. Of equal ones the one in the lower column precedes, and
/// NaN precedes all numbers.
template <class T>
struct Candidate {
  int64_t column;
  T value;
};
template <class T>
__device__ __forceinline__ bool precedes(const Candidate<T>& a, const Candidate<T>& b) {
  using cpu::functions::above;
  return above(a.value, b.value) || (!above(b.value, a.value) && a.column < b.column);
}
struct Best {
  template <class T>
  __device__ Candidate<T> operator()(const Candidate<T>& a, const Candidate<T>& b) const {
    return precedes(a, b) ? a : b;
  }
};

/// The larger, NaN where either is NaN.
struct Larger {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return cpu::functions::max<T>::f(a, b);
  }
};

}  // namespace hashgrad::HASHGRAD_GPU
