// The functions of cpu/optim.h on the GPU engines. Those over a list of parameters take one launch for 32 of them.
#pragma once

#include "cpu/optim.h"
#include "cuda/engines.h"

// clang-format off
namespace hashgrad {
HASHGRAD_ENGINES(

template <class T>
void sgd_step(const cpu::Sgd& options, int64_t n, const T* gradient, T* velocity, T* weight);
template <class T>
void sgd_step(const cpu::Sgd& options, const std::vector<cpu::Update<T>>& updates);
template <class T>
void adam_step(const cpu::Adam& options, int64_t step, int64_t n, const T* gradient, T* m, T* v, T* weight);
template <class T>
void adam_step(const cpu::Adam& options, int64_t step, const std::vector<cpu::Update<T>>& updates);
template <class T>
void rmsprop_step(const cpu::RmsProp& options, int64_t n, const T* gradient, T* square_average, T* momentum_buffer,
                  T* weight);
template <class T>
void rmsprop_step(const cpu::RmsProp& options, const std::vector<cpu::Update<T>>& updates);

)  // HASHGRAD_ENGINES
}  // namespace hashgrad
// clang-format on
