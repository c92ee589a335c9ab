// Softmax and log-softmax over the last axis, x and y [rows, columns >= 1]; y may be x. Each row stands
// alone. Exponentials keep denormals: a gap of 100 between two float logits gives 3.8e-44, not 0.
#pragma once

#include <cstdint>

namespace hashgrad::cpu {

/// y = exp(x - max) / sum exp(x - max).
template <class T>
void softmax(int64_t rows, int64_t columns, const T* x, T* y);
/// dx = y * (dy - sum(y * dy)), with y the output of softmax and `copies` cotangents dy [copies, rows,
/// columns].
template <class T>
void softmax_backward(int64_t rows, int64_t columns, const T* y, const T* dy, T* dx, int64_t copies = 1);

/// y = x - max - log(sum exp(x - max)).
template <class T>
void log_softmax(int64_t rows, int64_t columns, const T* x, T* y);
/// dx = dy - exp(y) * sum(dy), with y the output of log_softmax and `copies` cotangents.
template <class T>
void log_softmax_backward(int64_t rows, int64_t columns, const T* y, const T* dy, T* dx, int64_t copies = 1);

}  // namespace hashgrad::cpu
