// The inside of max pooling over windows of any size (cpu/kernels.h).
#pragma once

#include <cstdint>

#include "cpu/kernels.h"

namespace hashgrad::cpu {

/// The rows that a row of outputs looks at, taken apart by column modulo stride: [rows][stride][length].
/// Element i of part q is column i * stride + q - padding of the plane, or minus infinity.
template <class T>
struct PoolRows {
  const T* parts;
  int64_t rows, kernel, stride, length;
  int32_t first;  // where column 0 of the window of output 0 lies in the plane, from its first row on; maybe
                  // in the padding
  int32_t width;  // of the plane
};

template <class T>
struct PoolKernels {
  /// The maxima of n windows side by side, the first of equals; a NaN wins, the last of several. argmax [n]
  /// comes in with the first place of each window that is in the plane, for windows of minus infinities.
  void (*max_row)(const PoolRows<T>& rows, int64_t n, T* y, int32_t* argmax);
};

HASHGRAD_KERNEL_TABLE(PerType<PoolKernels>, pool_kernels)

}  // namespace hashgrad::cpu
