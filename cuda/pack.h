// Neighbours in memory that are read and written as one.
#pragma once

#include "cuda/gpu.h"

namespace hashgrad::HASHGRAD_GPU {

/// `count` elements; unless told otherwise as many as one load of 16 bytes brings.
template <class T, int count = 16 / sizeof(T)>
struct alignas(sizeof(T) * count < 16 ? sizeof(T) * count : 16) Pack {
  static constexpr int size = count;
  T at[count];
};

}  // namespace hashgrad::HASHGRAD_GPU
