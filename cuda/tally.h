// The function of cpu/tally.h on the GPU engines.
#pragma once

#include "cpu/tally.h"
#include "cuda/engines.h"

// clang-format off
namespace hashgrad {
HASHGRAD_ENGINES(

template <class T>
void add_step(int64_t rows, const T* mean_loss, const int64_t* predicted, const int64_t* labels, const int64_t* step,
              cpu::Tally* tally);

)  // HASHGRAD_ENGINES
}  // namespace hashgrad
// clang-format on
