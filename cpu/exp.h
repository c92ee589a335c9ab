// exp(x) without branches or calls, so that loops over it become vector code, also in kernels, which want no
// functions of the library. At most 2 ulp off, also where the result is denormal (softmax probabilities of
// 1e-40 matter here); exp(-inf) = 0, overflow gives inf, NaN stays NaN.
#pragma once

#include <cstdint>

namespace hashgrad::cpu {

template <class T>
struct ExpConstants;
template <>
struct ExpConstants<float> {
  using Bits = uint32_t;
  static constexpr int mantissa = 23, bias = 127, degree = 7;
  static constexpr float lowest = -104.0f, highest = 89.0f;  // beyond: 0 and inf
  static constexpr float round = 12582912.0f;                // 1.5 * 2^23: adding it rounds to an integer
  static constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
};
template <>
struct ExpConstants<double> {
  using Bits = uint64_t;
  static constexpr int mantissa = 52, bias = 1023, degree = 13;
  static constexpr double lowest = -746.0, highest = 710.0;
  static constexpr double round = 6755399441055744.0;
  static constexpr double ln2_high = 6.93147180369123816490e-01, ln2_low = 1.90821492927058770002e-10;
};

template <class T>
struct InverseFactorials {
  T of[16] = {1};
  constexpr InverseFactorials() {
    double factorial = 1;
    for (int i = 1; i < 16; ++i) of[i] = static_cast<T>(1 / (factorial *= i));
  }
};
template <class T>
constexpr InverseFactorials<T> inverse_factorials;

/// 2^n * e^r with n = round(x / ln 2), |r| <= ln(2) / 2: a Taylor polynomial for e^r, and 2^n as two factors
/// of half the exponent each, because 2^-149 is no normal number.
template <class T>
[[gnu::always_inline]] inline T exp_inline(T x) {
  using C = ExpConstants<T>;
  using Bits = typename C::Bits;
  constexpr T log2_e = static_cast<T>(1.44269504088896340736);
  x = x < C::lowest ? C::lowest : x;
  x = x > C::highest ? C::highest : x;
  const T shifted = x * log2_e + C::round;
  const T n = shifted - C::round;
  const T r = (x - n * C::ln2_high) - n * C::ln2_low;

  T p = inverse_factorials<T>.of[C::degree];
#pragma GCC unroll 16
  for (int i = C::degree - 1; i >= 0; --i) p = p * r + inverse_factorials<T>.of[i];

  const Bits integer =
      __builtin_bit_cast(Bits, shifted) - __builtin_bit_cast(Bits, C::round);  // n, two's complement
  const Bits half = (integer + 2048) / 2 - 1024;                               // floor(n / 2)
  const T first = __builtin_bit_cast(T, (half + C::bias) << C::mantissa);
  const T second = __builtin_bit_cast(T, (integer - half + C::bias) << C::mantissa);
  return p * first * second;
}

}  // namespace hashgrad::cpu
