// Pixels x = (tanh(w) + 1) / 2, without branches or calls, so that loops over them become vector code.
#pragma once

#include "cpu/exp.h"

namespace hashgrad::cpu {

/// A pixel and its slope d x / d w. Both w >> 0 and w << 0 lose nothing to rounding, so that pixels next to
/// 0 and 1 keep a slope.
template <class T>
struct TanhPixel {
  T x, slope;
};
template <class T>
[[gnu::always_inline]] inline TanhPixel<T> tanh_pixel(T w) {
  const T e = exp_inline<T>(T{-2} * (w < 0 ? -w : w));
  const T large = T{1} / (T{1} + e), small = e * large;
  return {w < 0 ? small : large, T{2} * small * large};
}

}  // namespace hashgrad::cpu
