// The functions of cpu/loss.h on the GPU engines.
#pragma once

#include "cpu/loss.h"
#include "cuda/engines.h"

// clang-format off
namespace hashgrad {
HASHGRAD_ENGINES(

void find_bad_label(int64_t rows, int64_t classes, const int64_t* labels, int64_t* row);
template <class T>
void smoothed_one_hot(int64_t rows, int64_t classes, double smoothing, const int64_t* labels, T* targets);
template <class T>
void cross_entropy(int64_t rows, int64_t classes, const T* z, const T* targets, T* loss, T* gradient);
template <class T>
void exact_cross_entropy(int64_t rows, int64_t classes, const T* z, const int64_t* labels, T* loss, T* gradient);
template <class T>
void scale_rows(int64_t rows, int64_t classes, int64_t copies, const T* dy, const T* gradient, T* dz);
template <class T>
void logit_difference(cpu::LogitLoss kind, int64_t rows, int64_t classes, const T* z, const int64_t* labels,
                      const int64_t* targets, T* loss, cpu::LogitChoice* choices);
template <class T>
void logit_difference_backward(int64_t rows, int64_t classes, int64_t copies, const T* z,
                               const cpu::LogitChoice* choices, const T* dy, T* dz);

)  // HASHGRAD_ENGINES
}  // namespace hashgrad
// clang-format on
