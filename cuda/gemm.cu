// C = op(A) op(B) of matrices in memory, by the kernel of cuda/product.h.
//
// What bounds it, in float on an H200 (67 TFLOP/s of fused multiply-adds, 4.8 TB/s of device memory)?
//
// The second-level cache: a tile of 128 x 128 reads 256 elements per depth for 16384 multiply-adds, 32 flops
// per byte, so that the whole device asks for 2 TB/s at full speed: within reach. Of device memory it asks
// far less, as blocks that run at the same time share what they read.
//
// Shared memory: per depth a thread takes 8 + 8 elements for 64 multiply-adds, and a warp of 8 x 4 threads
// reads 384 different bytes, 3 cycles; four warps side by side occupy it for 12 of the 64 cycles they
// multiply.
//
// Registers: 64 sums, 16 elements, 8 on their way; with 128 per thread two blocks of eight warps stay
// resident, which is what covers the latencies.
//
// What remains is the multiply-add: 64 of some 70 instructions. The other tiles are for products that would
// leave the device idle, and for few rows or columns; they move two to four times as much per flop. No tensor
// cores unless Math::bf16 asks for them: TF32 keeps 10 bits of a float's 23, too few to tell a masked
// gradient from a vanished one.
#include "cuda/cublas.h"
#include "cuda/gemm.h"
#include "cuda/matrix.h"

namespace hashgrad::HASHGRAD_GPU {
namespace {

/// Tiles for operands read in packs of 16 bytes, and for those of odd sizes, which are rare or small.
constexpr unsigned pack_forms =
    bit(Form::big) | bit(Form::mid) | bit(Form::low) | bit(Form::flat) | bit(Form::tall) | tensor_forms;
constexpr unsigned odd_forms = bit(Form::big) | bit(Form::mid) | bit(Form::tensor_mid);

constexpr int64_t largest_stride = int64_t{1} << 24;  // 128 rows of a tile are addressed with 32 bits

/// Depth of one part of K: up to 512, so that chains of rounding errors stay short and a product with few
/// tiles has parts to spread, but no more than 64 parts, because a block that walks through them goes back to
/// C for each.
int part_depth(int64_t k) {
  const int64_t parts = std::clamp<int64_t>(blocks_for(k, 512), 1, 64);
  return static_cast<int>(std::max<int64_t>(32, blocks_for(blocks_for(k, parts), 32) * 32));
}

template <class T>
Matrix<T, 16 / sizeof(T)> in_packs(const Matrix<T, 1>& m) {
  return {m.data, m.index_stride, m.depth_stride};
}

}  // namespace

template <class T>
void gemm(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, const T* a, int64_t lda, const T* b,
          int64_t ldb, T* c, int64_t ldc, const cpu::Epilogue<T>& epilogue) {
  check(m >= 0 && n >= 0 && k >= 0 && ldc >= n, "gemm: [{}, {}] x [{}, {}] into rows of {}", m, k, k, n, ldc);
  check(lda >= (trans_a ? m : k) && ldb >= (trans_b ? k : n),
        "gemm: rows of {} and {} elements are too short for [{}, {}] x [{}, {}]", lda, ldb, m, k, k, n);
  const bool addressable = (trans_a || lda <= largest_stride) && (!trans_b || ldb <= largest_stride);
  check(addressable && k <= largest_depth, "gemm: [{}, {}] x [{}, {}] with rows of {} and {} is too large", m,
        k, k, n, lda, ldb);
  if (m == 0 || n == 0) return;
  if (!on_tensor_cores<pack_forms, T>() &&
      cublas_gemm(trans_a, trans_b, m, n, k, a, lda, b, ldb, c, ldc, epilogue))
    return;
  const Matrix<T, 1> left{a, trans_a ? 1 : lda, trans_a ? lda : 1};
  const Matrix<T, 1> right{b, trans_b ? ldb : 1, trans_b ? 1 : ldb};
  const int depth = static_cast<int>(k), part = part_depth(k);
  if (fits_packs(left, m, k) && fits_packs(right, n, k))
    multiply<pack_forms>(m, n, depth, part, in_packs(left), in_packs(right), c, ldc, epilogue);
  else
    multiply<odd_forms>(m, n, depth, part, left, right, c, ldc, epilogue);
}

#define INSTANTIATE(T)                                                                                \
  template void gemm(bool, bool, int64_t, int64_t, int64_t, const T*, int64_t, const T*, int64_t, T*, \
                     int64_t, const cpu::Epilogue<T>&);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace hashgrad::HASHGRAD_GPU
