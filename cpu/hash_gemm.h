// Hashed layers: products with the virtual matrix V[i,j] = w[bucket(i,j)] * sign(i,j) of shape [rows,
// columns] = [outputs, inputs], of which only the K bucket values w are stored (Chen et al., "Compressing
// neural networks with the hashing trick", ICML 2015). V is generated block by block while the matrix product
// packs its operand, used from cache, and forgotten. Every function computes the same V, bit for bit.
// docs/hashing.md has the details.
#pragma once

#include <cstdint>

#include "cpu/gemm.h"
#include "cpu/hashed_matrix.h"

namespace hashgrad::cpu {

/// The packing stage that generates V: P[index, k] = V[index, k], or V[k, index] when `transposed`. As
/// operand B of gemm_packed the first gives X * V^T, the second dY * V. `v` and `w` must outlive the packer.
template <class T>
Packer<T> pack_hashed(const HashedMatrix& v, const T* w, bool transposed);

/// Y[batch, rows] = X[batch, columns] * V^T, then the epilogue (bias as column_bias [rows], ReLU). w is [K].
template <class T>
void hashed_linear(const HashedMatrix& v, const T* w, int64_t batch, const T* x, T* y,
                   const Epilogue<T>& epilogue = {});

/// dX[batch, columns] = dY[batch, rows] * V; with epilogue.accumulate it is added to dX.
template <class T>
void hashed_linear_input_gradient(const HashedMatrix& v, const T* w, int64_t batch, const T* dy, T* dx,
                                  const Epilogue<T>& epilogue = {});

/// dw[b] = sum over the (i,j) of bucket b of sign(i,j) * (dY^T X)[i,j]; overwrites dw [K]. dY^T X exists tile
/// by tile only. Sums in an order that depends on the shape alone.
template <class T>
void hashed_linear_bucket_gradient(const HashedMatrix& v, int64_t batch, const T* x, const T* dy, T* dw);

/// dense[rows, columns] = V. For convolutions (V is small there, and every pixel uses it), biases and dense
/// twins.
template <class T>
void materialise(const HashedMatrix& v, const T* w, T* dense);

/// dw[b] = sum over the (i,j) of bucket b of sign(i,j) * d_dense[i,j]: the adjoint of materialise; overwrites
/// dw [K].
template <class T>
void scatter(const HashedMatrix& v, const T* d_dense, T* dw);

}  // namespace hashgrad::cpu
