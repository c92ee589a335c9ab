// The functions of cpu/attack_step.h on the GPU engines.
#pragma once

#include "cpu/attack_step.h"
#include "cuda/engines.h"

// clang-format off
namespace hashgrad {
HASHGRAD_ENGINES(

template <class T>
void signs(int64_t n, const T* gradient, T* out);
template <class T>
void unit_rows(int64_t rows, int64_t columns, const T* gradient, T* out);
template <class T>
void step(int64_t n, T scale, const T* x, const T* direction, T* out);

template <class T>
void project_linf(int64_t n, double eps, const T* x, const T* centre, T* out);
template <class T>
void project_l2(int64_t rows, int64_t columns, double eps, const T* x, const T* centre, T* out);

template <class T>
void ascend_linf(int64_t n, T scale, double eps, const T* x, const T* gradient, const T* centre, T* out);
template <class T>
void ascend_l2(int64_t rows, int64_t columns, T scale, double eps, const T* x, const T* gradient, const T* centre,
               T* out);

template <class T>
void start_linf(int64_t rows, int64_t columns, double eps, uint64_t seed, uint32_t restart, const int64_t* samples,
                const T* centre, T* out);
template <class T>
void start_l2(int64_t rows, int64_t columns, uint64_t seed, uint32_t restart, const int64_t* samples,
              const double* radii, const T* centre, T* out);

template <class T>
void distances(int64_t rows, int64_t columns, const T* x, const T* moved, double* out);

template <class T>
void read_rows(int64_t rows, int64_t classes, int64_t columns, const T* logits, const T* values, const T* gradient,
               cpu::Reading* out);

template <class T>
void copy_rows(int64_t count, int64_t columns, const int64_t* to_rows, const int64_t* from_rows, const T* from, T* to);

)  // HASHGRAD_ENGINES
}  // namespace hashgrad
// clang-format on
