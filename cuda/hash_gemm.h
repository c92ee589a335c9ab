// Products with a hashed matrix V (cpu/hash_gemm.h). V is generated where it is used, bit for bit the CPU's,
// and never stored but by materialise. Results do not depend on what runs beside them: sums have one order,
// and a row of Y or dX has the same bits in any batch. dw is summed in integers, so its order does not
// matter.
//
// Mode xxhash keeps its table of slots on the device from the first call on, as long as the matrix lives;
// that first call cannot be part of a graph. The other modes keep nothing: keys are recomputed in the
// kernels.
#pragma once

#include <optional>

#include "cpu/hash_gemm.h"
#include "cuda/engines.h"
#include "cuda/hash_plan.h"

namespace hashgrad {

/// For tests and benchmarks: overrides what the functions below choose.
struct HashTuning {
  HashKernel kernel = HashKernel::automatic;
  int64_t shared_bytes = 0;  // that kernels may use per block; 0: all that the device has
  std::optional<BucketTable>
      table{};  // of small_batch; an Error when the mode has none such, or it does not fit
};

}  // namespace hashgrad

// clang-format off
namespace hashgrad {
HASHGRAD_ENGINES(

/// What the plans of this engine's products go by: the size of its device, and the rates of an H200.
HashMachine hash_machine();

/// Y[batch, rows] = X[batch, columns] * V^T, then the epilogue. w is [K].
template <class T>
void hashed_linear(const cpu::HashedMatrix& v, const T* w, int64_t batch, const T* x, T* y,
                   const cpu::Epilogue<T>& epilogue = {}, const HashTuning& tuning = {});

/// dX[batch, columns] = dY[batch, rows] * V, then the epilogue.
template <class T>
void hashed_linear_input_gradient(const cpu::HashedMatrix& v, const T* w, int64_t batch, const T* dy, T* dx,
                                  const cpu::Epilogue<T>& epilogue = {}, const HashTuning& tuning = {});

/// dw[b] = sum over the (i,j) of bucket b of sign(i,j) * (dY^T X)[i,j]; overwrites dw [K].
template <class T>
void hashed_linear_bucket_gradient(const cpu::HashedMatrix& v, int64_t batch, const T* x, const T* dy, T* dw,
                                   const HashTuning& tuning = {});

/// dense[rows, columns] = V.
template <class T>
void materialise(const cpu::HashedMatrix& v, const T* w, T* dense, const HashTuning& tuning = {});

/// dw[b] = sum over the (i,j) of bucket b of sign(i,j) * d_dense[i,j]; overwrites dw [K].
template <class T>
void scatter(const cpu::HashedMatrix& v, const T* d_dense, T* dw, const HashTuning& tuning = {});

)  // HASHGRAD_ENGINES
}  // namespace hashgrad
// clang-format on
