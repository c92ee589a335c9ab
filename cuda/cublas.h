// The choice between our matrix product and NVIDIA's cuBLAS, which is looked for when it is first asked for:
// neither building nor running needs it.
//
// Ours is the default, because its results are a function of the operands alone: a row has the same bits in
// any batch, on any device. cuBLAS picks its order of summation by shape and device, so that with it neither
// holds; how much faster it is has not been measured. TF32 and other short cuts stay off.
#pragma once

#include <cstdint>

#include "cpu/gemm.h"
#include "cuda/engines.h"

namespace hashgrad {
/// Who computes large matrix products: this library, or cuBLAS.
enum class Blas { own, cublas };
}  // namespace hashgrad

// clang-format off
namespace hashgrad {
HASHGRAD_ENGINES(

/// Holds for all threads, from the next gemm on. Blas::cublas is an Error that says why where it cannot be had: in the
/// emulator, and where libcublas.so.13 or .12 cannot be loaded.
void set_blas(Blas blas);
Blas blas();

/// For gemm(): computes the product with cuBLAS if that is chosen and the product large enough to gain from it, or
/// returns false and does nothing.
template <class T>
bool cublas_gemm(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, const T* a, int64_t lda, const T* b,
                 int64_t ldb, T* c, int64_t ldc, const cpu::Epilogue<T>& epilogue);

)  // HASHGRAD_ENGINES
}  // namespace hashgrad
// clang-format on
