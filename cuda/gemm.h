// The matrix product of cpu/gemm.h. A row of C has the same bits whatever M and the other rows are: each
// element is a chain over k inside parts of up to 512 depths, parts added in order, however many blocks share
// the work. (An explicit set_blas(Blas::cublas), see cuda/cublas.h, gives that up.) With Math::bf16
// (core/math_mode.h) it runs on tensor cores.
#pragma once

#include "cpu/gemm.h"
#include "cuda/engines.h"

// clang-format off
namespace hashgrad {
HASHGRAD_ENGINES(

template <class T>
void gemm(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, const T* a, int64_t lda, const T* b, int64_t ldb,
          T* c, int64_t ldc, const cpu::Epilogue<T>& epilogue = {});

)  // HASHGRAD_ENGINES
}  // namespace hashgrad
// clang-format on
