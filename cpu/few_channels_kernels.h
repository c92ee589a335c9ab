// The input gradient of a first layer: one to three input channels, square kernels of 3 or 5, an output for
// each pixel. As a product it would be one of a few dozen rows, the columns of which must then be added; here
// the sums of neighbouring pixels share what they read.
#pragma once

#include "cpu/kernels.h"

namespace hashgrad::cpu {

/// One image: dx [channels, height, width] from dy [out_channels, height, width] and weight [out_channels,
/// channels, side, side]; stride 1, padding side / 2. The order of all sums is a function of the shape alone.
template <class T>
struct FewChannels {
  static constexpr int64_t most_channels = 3, least_height = 4, least_width = 16;
  static constexpr int64_t most_sums = 32;  // vectors at a time: the widest instruction set's registers
  const T *dy, *weight;
  int64_t out_channels, channels, side, height, width;
  T *dx, *sums;  // sums: room for sums_size() elements

  static int64_t sums_size(int64_t width) {
    constexpr int64_t most_lanes = 16;
    return most_sums * (width + 2 * most_lanes);
  }
};

template <class T>
struct FewChannelsKernels {
  void (*input_gradient)(const FewChannels<T>&);
};

HASHGRAD_KERNEL_TABLE(PerType<FewChannelsKernels>, few_channels_kernels)

}  // namespace hashgrad::cpu
