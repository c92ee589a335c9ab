// Pooling, as in cpu/pool2d.h: sums and choices run in the same order, so that max pooling has the same bits.
#pragma once

#include "cpu/pool2d.h"
#include "cuda/engines.h"

// clang-format off
namespace hashgrad {
HASHGRAD_ENGINES(

template <class T>
void max_pool2d_forward(const cpu::Pool2dShape& shape, const T* x, T* y, int32_t* argmax);
template <class T>
void max_pool2d_backward(const cpu::Pool2dShape& shape, const T* dy, const int32_t* argmax, T* dx, int64_t copies = 1);

template <class T>
void avg_pool2d_forward(const cpu::Pool2dShape& shape, const T* x, T* y);
template <class T>
void avg_pool2d_backward(const cpu::Pool2dShape& shape, const T* dy, T* dx);

template <class T>
void global_avg_pool_forward(int64_t planes, int64_t pixels, const T* x, T* y);
template <class T>
void global_avg_pool_backward(int64_t planes, int64_t pixels, const T* dy, T* dx);

)  // HASHGRAD_ENGINES
}  // namespace hashgrad
// clang-format on
