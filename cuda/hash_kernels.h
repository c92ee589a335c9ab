// The kernels behind cuda/hash_gemm.h, one .cu file each.
#pragma once

#include <algorithm>
#include <optional>

#include "cpu/gemm.h"
#include "cuda/hash_device.h"
#include "cuda/hash_plan.h"

namespace hashgrad::HASHGRAD_GPU {

/// C[batch, outer] = X[batch, depth] * P^T, with P = V or its transpose.
template <class T>
struct HashedProduct {
  VirtualMatrix v;
  bool transposed;
  const T* w;
  int64_t batch;
  const T* x;
  T* c;
  cpu::Epilogue<T> epilogue;

  __host__ __device__ int64_t outer() const { return transposed ? v.columns : v.rows; }
  __host__ __device__ int64_t depth() const { return transposed ? v.rows : v.columns; }
};

/// Depth of the parts in which every kernel but the reference sums: a function of the depth alone, so that
/// they agree bit for bit. A multiple of 128, the longer side of a window; about 256, and never more than 64
/// of them.
inline int64_t hashed_part(int64_t depth) {
  return std::max<int64_t>(256, blocks_for(blocks_for(depth, 64), 128) * 128);
}

/// Blocks that a multiprocessor holds side by side, one or two, where each has this much shared memory: the
/// device takes 1 KB more for each.
inline int64_t resident_blocks(int64_t shared_bytes) {
  constexpr int64_t reserved = 1 << 10;
  return 2 * (shared_bytes + reserved) <= properties().shared_per_block + reserved ? 2 : 1;
}

/// Bytes of shared memory are those that one block may use.
template <class T>
void small_batch_product(const HashedProduct<T>& product, int64_t shared_bytes,
                         std::optional<BucketTable> table);
template <class T>
void tile_product(const HashedProduct<T>& product);
void bf16_product(const HashedProduct<float>& product, int64_t shared_bytes);

template <class T>
void bucket_gradient(const VirtualMatrix& v, int64_t batch, const T* x, const T* dy, T* dw,
                     int64_t shared_bytes);
template <class T>
void bucket_scatter(const VirtualMatrix& v, const T* d_dense, T* dw, int64_t shared_bytes);

/// The formulas as a textbook writes them.
template <class T>
void reference_product(const HashedProduct<T>& product);
template <class T>
void reference_bucket_gradient(const VirtualMatrix& v, int64_t batch, const T* x, const T* dy, T* dw);
template <class T>
void reference_materialise(const VirtualMatrix& v, const T* w, T* dense);
template <class T>
void reference_scatter(const VirtualMatrix& v, const T* d_dense, T* dw);

}  // namespace hashgrad::HASHGRAD_GPU
