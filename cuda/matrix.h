// Matrices in memory, as operands and as the result of the product of cuda/product.h.
#pragma once

#include "cpu/gemm.h"
#include "cuda/divisor.h"
#include "cuda/elementwise.h"
#include "cuda/product.h"
#include "cuda/scratch.h"

namespace hashgrad::HASHGRAD_GPU {

/// P[index, k] = data[index * index_stride + k * depth_stride]; one stride is 1. With vector > 1 the other
/// one, and the extent in the direction of stride 1, are multiples of `vector`, and data is aligned to 16
/// bytes.
template <class T, int vector_>
struct Matrix {
  using Element = T;
  using Row = int;         // offset in the tile
  using Depth = const T*;  // of the tile's first index
  static constexpr int vector = vector_;
  static constexpr Along along = Along::either;
  static constexpr bool copies = vector * sizeof(T) == 16;

  const T* data;
  int64_t index_stride, depth_stride;

  __device__ bool along_depth() const { return depth_stride == 1; }
  __device__ void move_to(int64_t first) { data += first * index_stride; }
  __device__ Row row(int index) const { return index * static_cast<int>(index_stride); }
  __device__ Depth depth(int k) const { return data + k * depth_stride; }
  __device__ const Pack<T, vector>* address(Row row, Depth depth) const {
    return reinterpret_cast<const Pack<T, vector>*>(depth + row);
  }
  __device__ Pack<T, vector> at(Row row, Depth depth) const { return *address(row, depth); }
};

/// Whether Matrix may read this operand in packs of 16 bytes.
template <class T>
bool fits_packs(const Matrix<T, 1>& m, int64_t extent, int64_t k) {
  constexpr int64_t vector = 16 / sizeof(T);
  const bool down = m.depth_stride == 1;
  return reinterpret_cast<uintptr_t>(m.data) % 16 == 0 &&
         (down ? m.index_stride : m.depth_stride) % vector == 0 && (down ? k : extent) % vector == 0;
}

/// Writes C[M,N], row-major, and applies the epilogue to the finished sum; or, with part_stride > 0, leaves
/// each part's sums at c + part * part_stride for fold() to add.
template <class T>
struct MatrixSink {
  T* c;
  int64_t ldc, n;
  int parts;
  int64_t part_stride;
  bool packs;  // c + j is aligned to 16 bytes for j a multiple of 4 in every row
  cpu::Epilogue<T> epilogue;

  template <int count>
  struct Column {
    int64_t j;
    int valid;
  };
  template <int count>
  __device__ Column<count> column(int64_t j) const {
    return {j, static_cast<int>(n - j < count ? n - j : count)};
  }

  /// The sum of parts 0 to `part`, of which `old` holds those before (or what is to be added to).
  __device__ T finish(int64_t row, int64_t j, int part, T old, T sum) const {
    if (part > 0 || epilogue.accumulate) sum = old + sum;
    if (part + 1 < parts) return sum;
    if (epilogue.row_bias) sum += epilogue.row_bias[row];
    if (epilogue.column_bias) sum += epilogue.column_bias[j];
    return epilogue.relu && sum < 0 ? T{0} : sum;
  }

  template <int count>
  __device__ void put(int64_t row, const Column<count>& column, int part, Pack<T, count> values) const {
    T* to = c + part * part_stride + row * ldc + column.j;
    if (part_stride == 0) {
      GPU_UNROLL
      for (int v = 0; v < count; ++v)
        if (v < column.valid) {
          const T old = part > 0 || epilogue.accumulate ? to[v] : T{0};
          values.at[v] = finish(row, column.j + v, part, old, values.at[v]);
        }
    }
    if (packs && column.valid == count) {
      *reinterpret_cast<Pack<T, count>*>(to) = values;
    } else {
      GPU_UNROLL
      for (int v = 0; v < count; ++v)
        if (v < column.valid) to[v] = values.at[v];
    }
  }
};

/// Whether rows of ldc elements from c on can be written in packs.
template <class T>
bool writes_packs(const T* c, int64_t ldc) {
  return reinterpret_cast<uintptr_t>(c) % 16 == 0 && ldc % 4 == 0;
}

/// One thread per element of C: adds its parts [parts, M, N] in order, then the epilogue.
template <class T>
__global__ void fold_kernel(int64_t elements, LongDivisor columns, const T* parts, MatrixSink<T> to) {
  for (int64_t i = grid_rank(); i < elements; i += grid_threads()) {
    const int64_t row = columns.quotient(i), j = columns.remainder(i, row);
    T* c = to.c + row * to.ldc + j;
    T sum = to.epilogue.accumulate ? *c : T{0};
    for (int part = 0; part < to.parts; ++part)
      sum = to.finish(row, j, part, sum, parts[part * elements + i]);
    *c = sum;
  }
}
template <class T>
void fold(int64_t m, const T* parts, const MatrixSink<T>& to) {
  const int64_t elements = m * to.n;
  launch(fold_kernel<T>, grid_for(elements), block_size, 0, elements, LongDivisor(to.n), parts, to);
}

/// C = A B with K cut into parts of `part`. With few tiles the parts are spread over the device, each leaving
/// its sums in scratch memory, and folded; with enough of them a block walks through the parts and adds them
/// to C as it goes.
template <unsigned forms, class A, class B, class T>
void multiply(int64_t m, int64_t n, int k, int part, const A& a, const B& b, T* c, int64_t ldc,
              const cpu::Epilogue<T>& epilogue) {
  const int parts = static_cast<int>(std::max<int64_t>(1, blocks_for(k, part)));
  const FormSize f = choose_form<forms, T>(m, n, parts);
  const ProductShape shape{m, n, k, part, parts, 0, 0};
  const MatrixSink<T> to{c, ldc, n, parts, 0, writes_packs(c, ldc), epilogue};
  const bool spread = parts > 1 && tiles_of(m, n, f.rows, f.columns) < enough_blocks;
  if (!spread) return launch_form<forms>(f.form, shape, 1, a, b, to);
  const Scratch<T> sums(parts * m * n);  // [parts, m, n]
  const MatrixSink<T> to_sums{sums.data(), n, n, parts, m * n, n % 4 == 0, {}};
  launch_form<forms>(f.form, shape, parts, a, b, to_sums);
  fold(m, static_cast<const T*>(sums.data()), to);
}

}  // namespace hashgrad::HASHGRAD_GPU
