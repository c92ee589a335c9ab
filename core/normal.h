// Standard normal numbers from uniform ones, the same bits on every device: the logarithm and the cosine of
// Box and Muller are written out here, because those of two libraries differ in the last place.
//
// For sources that never join a product and a sum into one rounding (-ffp-contract=off, nvcc --fmad=false;
// see CMakeLists.txt and cmake/cuda.cmake).
#pragma once

#include <cmath>

namespace hashgrad::normal {

/// log v for 2^-53 <= v <= 1, to a few units in the last place: halvings of 2 artanh((v - 1) / (v + 1)).
constexpr double log_of(double v) {
  double halvings = 0;
  while (v < 0.70710678118654752) v *= 2, ++halvings;
  const double f = (v - 1) / (v + 1), square = f * f;  // |f| < 0.172
  double series = 1.0 / 21;
  for (int k = 19; k > 0; k -= 2) series = series * square + 1.0 / k;
  return 2 * f * series - halvings * 0.69314718055994531;
}

/// 1 - s/(n(n-1)) (1 - s/((n-2)(n-3)) (...)) for n = 2 or 3 up to `last`: the series of cos and of sin(a)/a,
/// s = a * a.
template <int last>
constexpr double alternating(double s) {
  double series = 1;
  for (int n = last; n > 1; n -= 2) series = 1 - series * (s * (1.0 / (n * (n - 1))));
  return series;
}

/// cos(2 pi u) for 0 <= u <= 1, to a few units in the last place of 1.
constexpr double cosine_of_turns(double u) {
  const int quarter = static_cast<int>(4 * u + 0.5);         // the nearest one, 0 to 4
  const double a = (4 * u - quarter) * 1.57079632679489662;  // |a| <= pi / 4
  const double value = quarter % 2 == 0 ? alternating<16>(a * a) : a * alternating<17>(a * a);
  return quarter == 1 || quarter == 2 ? -value : value;
}

}  // namespace hashgrad::normal

namespace hashgrad {

/// A standard normal number from two uniform ones in [0, 1); of doubles.
template <class Double>
constexpr Double normal_from(Double u, Double v) {
  return std::sqrt(-2 * normal::log_of(1 - u)) * normal::cosine_of_turns(v);
}

}  // namespace hashgrad
