// The inside of a convolution's gradients behind ReLU and 2x2 max pooling (cpu/conv2d_pooled.h,
// cpu/kernels.h).
#pragma once

#include <cstdint>

#include "cpu/kernels.h"

namespace hashgrad::cpu {

/// Gradients that got through: number i is value[i], and the first tap of its window lies at[i] elements into
/// a plane of pixels with `lanes` channels each.
template <class T>
struct Arrivals {
  const int32_t* at;
  const T* value;
  int64_t count;
};

template <class T>
struct PooledKernels {
  int64_t lanes;  // channels side by side: one vector
  /// Lists the windows i < n with y[i] > 0, in order: dy[i], and origin[i] plus `right` if argmax[i] is odd,
  /// plus `down` if it is 2 or 3. Returns how many; writes up to n + lanes elements of at and value.
  int64_t (*list)(int64_t n, const T* dy, const T* y, const uint8_t* argmax, const int32_t* origin,
                  int32_t right, int32_t down, int32_t* at, T* value);
  /// A kernel of side x side taps, 3 or 5; rows of the plane are `row` elements apart.
  /// plane[at + tap] += value * weight[tap], arrival by arrival; weight [side, side, lanes].
  void (*scatter)(int64_t side, const Arrivals<T>& arrivals, const T* weight, T* plane, int64_t row);
  /// sums[tap] += value * plane[at + tap], arrival by arrival; sums [side, side, lanes].
  void (*gather)(int64_t side, const Arrivals<T>& arrivals, const T* plane, int64_t row, T* sums);
  /// n pixels of `channels` <= lanes planes, `stride` apart, to [n, lanes] with zeros for missing channels;
  /// and back.
  void (*to_lanes)(int64_t n, int64_t channels, const T* planes, int64_t stride, T* pixels);
  void (*from_lanes)(int64_t n, int64_t channels, const T* pixels, T* planes, int64_t stride);
};

HASHGRAD_KERNEL_TABLE(PerType<PooledKernels>, pooled_kernels)

}  // namespace hashgrad::cpu
