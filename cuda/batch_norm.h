// Batch normalisation, as in cpu/batch_norm.h.
#pragma once

#include "cpu/batch_norm.h"
#include "cuda/engines.h"

// clang-format off
namespace hashgrad {
HASHGRAD_ENGINES(

template <class T>
void batch_norm_statistics(const cpu::BatchNormShape& shape, const T* x, T* mean, T* variance);

template <class T>
void batch_norm_move_running(const cpu::BatchNormShape& shape, double momentum, const T* mean, const T* variance,
                             T* running_mean, T* running_variance, int64_t* batches);

template <class T>
void batch_norm_forward(const cpu::BatchNormShape& shape, const T* x, const T* mean, const T* variance, T eps,
                        const T* gamma, const T* beta, const T* added, bool relu, T* y);

template <class T>
void batch_norm_backward(const cpu::BatchNormShape& shape, const T* x, const cpu::BatchNormGradient<T>& gradient,
                         const T* mean, const T* variance, T eps, const T* gamma, T* dx, T* dgamma, T* dbeta);

template <class T>
void batch_norm_inference_backward(const cpu::BatchNormShape& shape, const T* x,
                                   const cpu::BatchNormGradient<T>& gradient, const T* mean, const T* variance, T eps,
                                   const T* gamma, T* dx, T* dgamma, T* dbeta, int64_t copies = 1);

)  // HASHGRAD_ENGINES
}  // namespace hashgrad
// clang-format on
