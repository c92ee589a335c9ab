// One matrix product for every layer: C[M,N] = A[M,K] * B[K,N], float or double. What differs between a dense
// layer, a convolution and a hashed layer is only how a block of A or B is brought into packed panels, so
// that is the seam.
#pragma once

#include <cstdint>
#include <functional>

#include "cpu/blocking.h"

namespace hashgrad::cpu {

/// A block of one operand, to be packed. An operand is seen as P[index, k]: index is the row of A or the
/// column of B, k the depth that is summed over. The block is indices [first, first + count) by depths [k0,
/// k0 + depth).
struct PackBlock {
  int64_t first, count;  // count >= 1; zeros fill up the last panel when width does not divide count
  int64_t k0, depth;     // depth >= 1
  int64_t width;         // indices per panel: gemm_kernels().of<T>().mr for A, .nr for B; divides `first`
};

/// Fills packed panels: panels[(p * depth + k) * width + lane] = P[first + p * width + lane, k0 + k], for p
/// in [0, ceil(count / width)), and 0 where p * width + lane >= count. `panels` is aligned to 64 bytes and
/// exactly that large. Called from several threads at once, each time with its own `panels`; each block of an
/// operand that is larger than the shared stripe (8 MB) may be asked for more than once.
template <class T>
using Packer = std::function<void(const PackBlock& block, T* panels)>;

/// What happens to a finished element: C = relu(A*B [+ old C] + row_bias[row] + column_bias[column]).
template <class T>
struct Epilogue {
  const T* row_bias = nullptr;     // [M] or null
  const T* column_bias = nullptr;  // [N] or null
  bool accumulate = false;         // add to the old C instead of overwriting it
  bool relu = false;               // max(x, 0), NaN stays NaN
};

/// C[M,N] = op(A) * op(B), row-major. A is [M,K] (lda >= K), or [K,M] when trans_a; B is [K,N], or [N,K] when
/// trans_b. Each element sums over k in an order that depends on K alone: its bits change neither with the
/// thread count nor with M, N or its neighbours. K = 0 gives the epilogue of zero. C must not overlap A or B.
template <class T>
void gemm(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, const T* a, int64_t lda, const T* b,
          int64_t ldb, T* c, int64_t ldc, const Epilogue<T>& epilogue = {});

/// An operand A that lies in memory as [M, stride].
template <class T>
struct RowsOfA {
  const T* data = nullptr;  // null: it does not
  int64_t stride = 0;
};

/// The same product with operands that exist only as packers (a hashed matrix, an unfolded image). Where
/// `rows` says that A lies in memory it is read there, and `a` may be empty. kept_b: null, or all panels of
/// B, block of depth (cpu/blocking.h) after block of depth; `b` may then be empty.
template <class T>
void gemm_packed(int64_t m, int64_t n, int64_t k, const Packer<T>& a, const Packer<T>& b, T* c, int64_t ldc,
                 const Epilogue<T>& epilogue = {}, const RowsOfA<T>& rows = {}, const T* kept_b = nullptr);

/// Packer of a matrix in memory: P[index, k] = data[index * index_stride + k * depth_stride]; one stride
/// is 1.
template <class T>
Packer<T> pack_dense(const T* data, int64_t index_stride, int64_t depth_stride);

}  // namespace hashgrad::cpu
