// What tests of the CPU engine's convolutions share: sizes and operands.
#pragma once

#include "cpu/conv2d.h"
#include "tests/cpu_testing.h"

namespace hashgrad::cpu_testing {

using cpu::Conv2dShape;

/// Numbers of an image, of its outputs, and of these behind 2x2 pooling.
inline int64_t image_size(const Conv2dShape& s) { return s.in_channels * s.in_pixels(); }
inline int64_t output_size(const Conv2dShape& s) { return s.out_channels * s.out_pixels(); }
inline int64_t pooled_size(const Conv2dShape& s) {
  return s.out_channels * (s.out_height() / 2) * (s.out_width() / 2);
}

/// Operands of a convolution and a gradient of its outputs.
template <class T>
struct Data {
  std::vector<T> x, weight, bias, dy;
  explicit Data(const Conv2dShape& s)
      : x(random_values<T>(s.batch * image_size(s), 1)),
        weight(random_values<T>(s.out_channels * s.depth(), 2)),
        bias(random_values<T>(s.out_channels, 3)),
        dy(random_values<T>(s.batch * output_size(s), 4)) {}
};

}  // namespace hashgrad::cpu_testing
