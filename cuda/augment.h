// The function of datasets/augment.h on the GPU engines: the same images, bit for bit.
#pragma once

#include "cuda/engines.h"
#include "datasets/augment.h"

// clang-format off
namespace hashgrad {
HASHGRAD_ENGINES(

template <class T>
void augment(const Augmentation& augmentation, uint64_t seed, const int64_t* epoch, int64_t batch, const int64_t* samples,
             int64_t channels, int64_t height, int64_t width, const T* images, T* out);

)  // HASHGRAD_ENGINES
}  // namespace hashgrad
// clang-format on
