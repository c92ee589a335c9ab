// Stored pixels as the numbers that a network sees; shared by Dataset and Loader.
#pragma once

#include <cstdint>

#include "core/tensor.h"

namespace hashgrad {

/// Elements [begin, end) of a contiguous tensor of images as T (float or double). 8-bit values are divided by
/// 255 in float32 whatever T is: both precisions see the same picture.
template <class T>
void copy_pixels(const Tensor& images, int64_t begin, int64_t end, T* out) {
  for_any_type(images.dtype(), [&]<class Stored>() {
    const Stored* pixels = images.data<Stored>();
    for (int64_t i = begin; i < end; ++i) {
      if constexpr (sizeof(Stored) == 1) {
        *out++ = static_cast<T>(static_cast<float>(pixels[i]) / 255.0f);
      } else {
        *out++ = static_cast<T>(pixels[i]);
      }
    }
  });
}

}  // namespace hashgrad
