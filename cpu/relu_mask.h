// What a ReLU let through, a bit for each number: all that a backward pass has to know of its output.
#pragma once

#include <cstdint>

namespace hashgrad::cpu {

/// Bytes of a mask for n numbers, with those that vectors read behind the last bit.
inline int64_t relu_mask_bytes(int64_t n) { return (n + 7) / 8 + 4; }

/// Bit i % 8 of mask[i / 8], i < n: whether y[i] > 0; of a NaN, `nan_passes`. mask [relu_mask_bytes(n)].
template <class T>
void make_relu_mask(int64_t n, const T* y, bool nan_passes, uint8_t* mask);

}  // namespace hashgrad::cpu
