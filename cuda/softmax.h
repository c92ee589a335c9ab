// The functions of cpu/softmax.h on the GPU engines.
#pragma once

#include "cpu/softmax.h"
#include "cuda/engines.h"

// clang-format off
namespace hashgrad {
HASHGRAD_ENGINES(

template <class T>
void softmax(int64_t rows, int64_t columns, const T* x, T* y);
template <class T>
void softmax_backward(int64_t rows, int64_t columns, const T* y, const T* dy, T* dx, int64_t copies = 1);
template <class T>
void log_softmax(int64_t rows, int64_t columns, const T* x, T* y);
template <class T>
void log_softmax_backward(int64_t rows, int64_t columns, const T* y, const T* dy, T* dx, int64_t copies = 1);

)  // HASHGRAD_ENGINES
}  // namespace hashgrad
// clang-format on
