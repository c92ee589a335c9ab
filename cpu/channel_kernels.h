// The inside of the passes over channels: what is done to one plane of n pixels (cpu/kernels.h).
#pragma once

#include <cstdint>

#include "cpu/kernels.h"

namespace hashgrad::cpu {

/// Sums run in sixteen interleaved parts, so their order does not depend on the instruction set.
template <class T>
struct ChannelKernels {
  /// The sum of x [n]: the rest behind the last whole sixteen, then the parts in order, all in T.
  T (*sum)(int64_t n, const T* x);
  /// The mean of x [n >= 1], and the sum of the squared distances from it.
  void (*moments)(int64_t n, const T* x, double* mean, double* spread);
  /// The sum of dy [n], and that of dy * (x - center).
  void (*products)(int64_t n, const T* x, const T* dy, T center, double* sum, double* product);
  /// y = (x - center) * slope + shift, to which `added` [n] is added unless null, then the maximum with 0 is
  /// taken where `relu` says so. y may be x or `added`.
  void (*normalise)(int64_t n, const T* x, T center, T slope, T shift, const T* added, bool relu, T* y);
  /// g = dy where the ReLU of normalise() lets it through, else 0: 0 where (x - center) * slope + shift <= 0.
  /// g may be dy. Of y itself, which is behind the ReLU: center 0, slope 1, shift 0.
  void (*gate)(int64_t n, const T* x, const T* dy, T center, T slope, T shift, T* g);
  /// Bit i % 8 of mask[i / 8]: whether y[i] > 0; a NaN's bit as said. Writes ceil(n / 8) bytes.
  void (*mark)(int64_t n, const T* y, bool nan_passes, uint8_t* mask);
  /// g[i] = dy[i] where bit first + i of the mask is set, else 0. Reads up to 4 bytes behind the last bit. g
  /// may be dy.
  void (*pass)(int64_t n, const uint8_t* mask, int64_t first, const T* dy, T* g);
  /// dx = slope * (dy - mean_dy - (x - center) * along); dx may be x or dy.
  void (*gradient)(int64_t n, const T* x, const T* dy, T center, T slope, T mean_dy, T along, T* dx);
  /// y = slope * x; y may be x.
  void (*scale)(int64_t n, const T* x, T slope, T* y);
};

HASHGRAD_KERNEL_TABLE(PerType<ChannelKernels>, channel_kernels)

}  // namespace hashgrad::cpu
