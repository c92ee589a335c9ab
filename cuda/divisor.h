// Division by a number that stays the same for a whole kernel, as a multiplication and a shift: an index is
// taken apart (which image, which row, which column) for every element that is read, and an integer division
// takes some twenty instructions, one of 64 bits four times as many.
#pragma once

#include <bit>
#include <cstdint>

#include "cuda/gpu.h"

namespace hashgrad::HASHGRAD_GPU {

/// Binary digits of n >= 0.
inline int bits(int64_t n) { return static_cast<int>(std::bit_width(static_cast<uint64_t>(n))); }

/// floor(n / d) for 0 <= n < 2^31 and 1 <= d < 2^31 (Granlund and Montgomery, PLDI 1994): with s = ceil(log2
/// d) and m = floor(2^32 (2^s - d) / d) + 1 it is (floor(n m / 2^32) + n) >> s.
class Divisor {
 public:
  Divisor() = default;
  explicit Divisor(int64_t d) : divisor_(static_cast<int32_t>(d)), shift_(bits(d - 1)) {
    const uint64_t divisor = static_cast<uint64_t>(d);
    factor_ = static_cast<uint32_t>((((uint64_t{1} << shift_) - divisor) << 32) / divisor + 1);
  }

  __device__ __forceinline__ int quotient(int n) const {
    const unsigned value = static_cast<unsigned>(n);
    return static_cast<int>((__umulhi(value, factor_) + value) >> shift_);
  }
  __device__ __forceinline__ int remainder(int n, int its_quotient) const {
    return n - its_quotient * divisor_;
  }

 private:
  int32_t divisor_ = 1, shift_ = 0;
  uint32_t factor_ = 1;
};

/// The same for 0 <= n < 2^63 and 1 <= d < 2^62.
class LongDivisor {
 public:
  LongDivisor() = default;
  explicit LongDivisor(int64_t d) : divisor_(d), shift_(bits(d - 1)) {
    // floor(2^64 (2^s - d) / d) by long division, one bit at a time: 2^s - d < d.
    const uint64_t divisor = static_cast<uint64_t>(d);
    uint64_t rest = (uint64_t{1} << shift_) - divisor, quotient = 0;
    for (int bit = 0; bit < 64; ++bit) {
      rest *= 2;
      quotient = 2 * quotient + (rest >= divisor);
      if (rest >= divisor) rest -= divisor;
    }
    factor_ = quotient + 1;
  }

  __device__ __forceinline__ int64_t quotient(int64_t n) const {
    const uint64_t value = static_cast<uint64_t>(n);
    return static_cast<int64_t>((__umul64hi(value, factor_) + value) >> shift_);
  }
  __device__ __forceinline__ int64_t remainder(int64_t n, int64_t its_quotient) const {
    return n - its_quotient * divisor_;
  }

 private:
  int64_t divisor_ = 1;
  int shift_ = 0;
  uint64_t factor_ = 1;
};

}  // namespace hashgrad::HASHGRAD_GPU
