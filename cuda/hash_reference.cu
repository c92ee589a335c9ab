// Hashed layers as a textbook writes them, one thread per number that comes out. Nothing here is fast; the
// other kernels are measured against it, and it is the place to start reading.
#include <algorithm>

#include "cuda/hash_kernels.h"

namespace hashgrad::HASHGRAD_GPU {
namespace {

/// V[i,j] = w[h(i,j)] * xi(i,j)
template <HashMode mode, class T>
__device__ T virtual_weight(const VirtualMatrix& v, const T* w, int64_t i, int64_t j) {
  return value_of(w, slot_of<mode>(v, row_unit<mode>(v, i), column_unit<mode>(v, j)));
}

/// c[m,o] = sum_d x[m,d] P[o,d], one thread per (m,o)
template <HashMode mode, class T>
__global__ void product_kernel(HashedProduct<T> p) {
  const int64_t outer = p.outer(), depth = p.depth(), e = grid_rank();
  if (e >= p.batch * outer) return;
  const int64_t m = e / outer, o = e % outer;
  T sum = 0;
  for (int64_t d = 0; d < depth; ++d) {
    const int64_t i = p.transposed ? d : o, j = p.transposed ? o : d;
    sum += p.x[m * depth + d] * virtual_weight<mode>(p.v, p.w, i, j);
  }
  if (p.epilogue.accumulate) sum = p.c[e] + sum;
  if (p.epilogue.row_bias) sum += p.epilogue.row_bias[m];
  if (p.epilogue.column_bias) sum += p.epilogue.column_bias[o];
  p.c[e] = p.epilogue.relu && sum < 0 ? T{0} : sum;
}

/// dw[h(i,j)] += xi(i,j) sum_m dy[m,i] x[m,j], one thread per (i,j); the threads of one bucket add in any
/// order, so this is the one kernel whose last bits may differ from run to run
template <HashMode mode, class T>
__global__ void bucket_gradient_kernel(VirtualMatrix v, int64_t batch, const T* x, const T* dy, T* dw) {
  const int64_t e = grid_rank();
  if (e >= v.rows * v.columns) return;
  const int64_t i = e / v.columns, j = e % v.columns;
  T sum = 0;
  for (int64_t m = 0; m < batch; ++m) sum += dy[m * v.rows + i] * x[m * v.columns + j];
  const uint32_t slot = slot_of<mode>(v, row_unit<mode>(v, i), column_unit<mode>(v, j));
  atomicAdd(&dw[slot >> 1], with_sign(sum, slot));
}

/// dense[i,j] = V[i,j], one thread per (i,j)
template <HashMode mode, class T>
__global__ void materialise_kernel(VirtualMatrix v, const T* w, T* dense) {
  const int64_t e = grid_rank();
  if (e < v.rows * v.columns) dense[e] = virtual_weight<mode>(v, w, e / v.columns, e % v.columns);
}

/// dw[h(i,j)] += xi(i,j) d_dense[i,j], one thread per (i,j), in any order
template <HashMode mode, class T>
__global__ void scatter_kernel(VirtualMatrix v, const T* d_dense, T* dw) {
  const int64_t e = grid_rank();
  if (e >= v.rows * v.columns) return;
  const uint32_t slot =
      slot_of<mode>(v, row_unit<mode>(v, e / v.columns), column_unit<mode>(v, e % v.columns));
  atomicAdd(&dw[slot >> 1], with_sign(d_dense[e], slot));
}

constexpr int threads = 128;

}  // namespace

template <class T>
void reference_product(const HashedProduct<T>& p) {
  with_mode(p.v.mode, [&]<HashMode mode>() {
    launch(product_kernel<mode, T>, blocks_for(p.batch * p.outer(), threads), threads, 0, p);
  });
}

template <class T>
void reference_bucket_gradient(const VirtualMatrix& v, int64_t batch, const T* x, const T* dy, T* dw) {
  set_bytes(dw, 0, static_cast<size_t>(v.buckets) * sizeof(T));
  with_mode(v.mode, [&]<HashMode mode>() {
    launch(bucket_gradient_kernel<mode, T>, blocks_for(v.rows * v.columns, threads), threads, 0, v, batch, x,
           dy, dw);
  });
}

template <class T>
void reference_materialise(const VirtualMatrix& v, const T* w, T* dense) {
  with_mode(v.mode, [&]<HashMode mode>() {
    launch(materialise_kernel<mode, T>, blocks_for(v.rows * v.columns, threads), threads, 0, v, w, dense);
  });
}

template <class T>
void reference_scatter(const VirtualMatrix& v, const T* d_dense, T* dw) {
  set_bytes(dw, 0, static_cast<size_t>(v.buckets) * sizeof(T));
  with_mode(v.mode, [&]<HashMode mode>() {
    launch(scatter_kernel<mode, T>, blocks_for(v.rows * v.columns, threads), threads, 0, v, d_dense, dw);
  });
}

#define INSTANTIATE(T)                                                                            \
  template void reference_product(const HashedProduct<T>&);                                       \
  template void reference_bucket_gradient(const VirtualMatrix&, int64_t, const T*, const T*, T*); \
  template void reference_materialise(const VirtualMatrix&, const T*, T*);                        \
  template void reference_scatter(const VirtualMatrix&, const T*, T*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace hashgrad::HASHGRAD_GPU
