// The functions of cpu/optim.h on the GPU engines: one launch for 32 parameters.
#pragma once

#include "cpu/optim.h"
#include "cuda/engines.h"

// clang-format off
namespace hashgrad {
HASHGRAD_ENGINES(

template <class T>
void sgd_step(const cpu::Sgd& options, const cpu::Pace* pace, const std::vector<cpu::Update<T>>& updates);
template <class T>
void adam_step(const cpu::Adam& options, const cpu::Pace* pace, const std::vector<cpu::Update<T>>& updates);
template <class T>
void rmsprop_step(const cpu::RmsProp& options, const cpu::Pace* pace, const std::vector<cpu::Update<T>>& updates);

)  // HASHGRAD_ENGINES
}  // namespace hashgrad
// clang-format on
