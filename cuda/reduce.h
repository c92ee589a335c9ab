// The functions of cpu/reduce.h on the GPU engines.
#pragma once

#include "cpu/reduce.h"
#include "cuda/engines.h"

// clang-format off
namespace hashgrad {
HASHGRAD_ENGINES(

template <class T>
void sum(int64_t n, const T* x, T* y);
template <class T>
void sum_rows(int64_t rows, int64_t columns, const T* x, T* y);
template <class T>
void sum_columns(int64_t rows, int64_t columns, const T* x, T* y);
template <class T>
void sum_channels(int64_t batch, int64_t channels, int64_t pixels, const T* x, T* y);
template <class T>
void sum_groups(const cpu::Groups& groups, int64_t copies, const T* x, T* y);
template <class T>
void dot_rows(int64_t rows, int64_t columns, const T* a, const T* b, T* y);
template <class T>
void max_rows(int64_t rows, int64_t columns, const T* x, T* maximum, int64_t* argmax);
template <class T>
void place_in_rows(int64_t rows, int64_t columns, const int64_t* column, const T* x, T* y);

)  // HASHGRAD_ENGINES
}  // namespace hashgrad
// clang-format on
