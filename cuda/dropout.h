// The function of cpu/dropout.h on the GPU engines: the same masks, bit for bit.
#pragma once

#include "cpu/dropout.h"
#include "cuda/engines.h"

// clang-format off
namespace hashgrad {
HASHGRAD_ENGINES(

template <class T>
void dropout(int64_t rows, int64_t width, double p, uint64_t key, const int64_t* step, int64_t count, const int64_t* samples,
             const T* x, T* y);

)  // HASHGRAD_ENGINES
}  // namespace hashgrad
// clang-format on
