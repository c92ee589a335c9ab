// The functions of cpu/pointwise.h on the GPU engines.
#pragma once

#include "cpu/pointwise.h"
#include "cuda/engines.h"

// clang-format off
namespace hashgrad {
HASHGRAD_ENGINES(

template <class T>
void unary(cpu::Unary op, int64_t n, const T* x, T* y);
template <class T>
void unary_backward(cpu::Unary op, int64_t n, const T* x, const T* y, const T* dy, T* dx, int64_t copies = 1);

template <class T>
void binary(cpu::Binary op, int64_t n, const T* a, const T* b, T* y);
template <class T>
void binary(cpu::Binary op, int64_t outer, int64_t inner, const T* a, cpu::Step a_step, const T* b, cpu::Step b_step,
            T* y);
template <class T>
void binary(cpu::Binary op, const cpu::Axes& axes, const T* a, const T* b, T* y);

template <class T>
void axpy(int64_t n, T alpha, const T* x, T* y);
template <class T>
void scale(int64_t n, T alpha, const T* x, T* y);
template <class T>
void clamp(int64_t n, T low, T high, const T* x, T* y);
template <class T>
void clamp_backward(int64_t n, T low, T high, const T* x, const T* dy, T* dx, int64_t copies = 1);

)  // HASHGRAD_ENGINES
}  // namespace hashgrad
// clang-format on
