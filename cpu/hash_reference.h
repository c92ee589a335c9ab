// Hashed layers as a textbook writes them: one formula each, three nested loops, sums in double. Nothing here
// is fast; the tests hold cpu/hash_gemm.cpp against it, and it is the place to start reading.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/hash_gemm.h"

namespace hashgrad::cpu::reference {

/// V[i,j] = w[h(i,j)] * xi(i,j)
template <class T>
T virtual_weight(const HashedMatrix& v, const T* w, int64_t i, int64_t j) {
  const uint32_t slot = v.slot(i, j);
  return slot & 1 ? -w[slot >> 1] : w[slot >> 1];
}

/// y[m,i] = bias[i] + sum_j V[i,j] x[m,j]; bias may be null
template <class T>
std::vector<double> forward(const HashedMatrix& v, const T* w, int64_t batch, const T* x, const T* bias) {
  std::vector<double> y(static_cast<size_t>(batch * v.rows()));
  for (int64_t m = 0; m < batch; ++m) {
    for (int64_t i = 0; i < v.rows(); ++i) {
      double sum = bias ? static_cast<double>(bias[i]) : 0.0;
      for (int64_t j = 0; j < v.columns(); ++j) {
        sum += static_cast<double>(virtual_weight(v, w, i, j)) * static_cast<double>(x[m * v.columns() + j]);
      }
      y[static_cast<size_t>(m * v.rows() + i)] = sum;
    }
  }
  return y;
}

/// dx[m,j] = sum_i dy[m,i] V[i,j]
template <class T>
std::vector<double> input_gradient(const HashedMatrix& v, const T* w, int64_t batch, const T* dy) {
  std::vector<double> dx(static_cast<size_t>(batch * v.columns()));
  for (int64_t m = 0; m < batch; ++m) {
    for (int64_t i = 0; i < v.rows(); ++i) {
      for (int64_t j = 0; j < v.columns(); ++j) {
        dx[static_cast<size_t>(m * v.columns() + j)] +=
            static_cast<double>(dy[m * v.rows() + i]) * static_cast<double>(virtual_weight(v, w, i, j));
      }
    }
  }
  return dx;
}

/// dw[b] = sum over h(i,j) = b of xi(i,j) sum_m dy[m,i] x[m,j]
template <class T>
std::vector<double> bucket_gradient(const HashedMatrix& v, int64_t batch, const T* x, const T* dy) {
  std::vector<double> dw(static_cast<size_t>(v.buckets()));
  for (int64_t m = 0; m < batch; ++m) {
    for (int64_t i = 0; i < v.rows(); ++i) {
      for (int64_t j = 0; j < v.columns(); ++j) {
        const uint32_t slot = v.slot(i, j);
        const double product =
            static_cast<double>(dy[m * v.rows() + i]) * static_cast<double>(x[m * v.columns() + j]);
        dw[slot >> 1] += slot & 1 ? -product : product;
      }
    }
  }
  return dw;
}

}  // namespace hashgrad::cpu::reference
