// The elementwise functions: f(x), and df(x, y, dy) = dy * f'(x) given y = f(x). cpu/pointwise.h lists their
// names. The definition for every engine: constexpr is what lets kernels call them.
#pragma once

#include <cmath>

#if !defined(__CUDACC__)
#include "cpu/exp.h"
#endif

namespace hashgrad::cpu::functions {

template <class T>
[[gnu::always_inline]] constexpr T sign_of(T x) {
  return x > 0 ? T{1} : x < 0 ? T{-1} : x * 0;  // 0 at zero, NaN at NaN
}

/// The order for maxima: NaN counts as larger than every number, so that it reaches the result.
template <class T>
[[gnu::always_inline]] constexpr bool above(T a, T b) {
  return a != a ? b == b : a > b;
}

/// e^x. The CPU's is made to be part of a vector loop; a GPU has its own, as exact.
template <class T>
[[gnu::always_inline]] constexpr T exp_of(T x) {
#if defined(__CUDACC__)
  return std::exp(x);
#else
  return exp_inline(x);
#endif
}

/// min(max(x, low), high); NaN stays NaN: both comparisons are false.
template <class T>
[[gnu::always_inline]] constexpr T clamped(T x, T low, T high) {
  x = x < low ? low : x;
  return x > high ? high : x;
}

template <class T>
struct neg {
  static constexpr T f(T x) { return -x; }
  static constexpr T df(T, T, T dy) { return -dy; }
};
template <class T>
struct abs {
  static constexpr T f(T x) { return std::abs(x); }
  static constexpr T df(T x, T, T dy) { return dy * sign_of(x); }
};
template <class T>
struct exp {
  static constexpr T f(T x) { return exp_of(x); }
  static constexpr T df(T, T y, T dy) { return dy * y; }
};
template <class T>
struct log {
  static constexpr T f(T x) { return std::log(x); }
  static constexpr T df(T x, T, T dy) { return dy / x; }
};
template <class T>
struct sqrt {
  static constexpr T f(T x) { return std::sqrt(x); }
  static constexpr T df(T, T y, T dy) { return dy / (2 * y); }
};
template <class T>
struct square {
  static constexpr T f(T x) { return x * x; }
  static constexpr T df(T x, T, T dy) { return 2 * x * dy; }
};
template <class T>
struct reciprocal {
  static constexpr T f(T x) { return 1 / x; }
  static constexpr T df(T, T y, T dy) { return -dy * y * y; }
};
template <class T>
struct sin {
  static constexpr T f(T x) { return std::sin(x); }
  static constexpr T df(T x, T, T dy) { return dy * std::cos(x); }
};
template <class T>
struct cos {
  static constexpr T f(T x) { return std::cos(x); }
  static constexpr T df(T x, T, T dy) { return -dy * std::sin(x); }
};
template <class T>
struct tanh {
  static constexpr T f(T x) { return std::tanh(x); }
  static constexpr T df(T, T y, T dy) { return dy * (1 - y * y); }
};
template <class T>
struct sigmoid {
  static constexpr T f(T x) {
    const T e = exp_of(-std::abs(x));  // never overflows, and keeps the denormal tail
    return (x < 0 ? e : T{1}) / (1 + e);
  }
  static constexpr T df(T, T y, T dy) { return dy * y * (1 - y); }
};
template <class T>
struct relu {
  static constexpr T f(T x) { return x < 0 ? T{0} : x; }
  static constexpr T df(T x, T, T dy) { return x <= 0 ? T{0} : dy; }
};
template <class T>
struct leaky_relu {
  static constexpr T slope = static_cast<T>(0.01);
  static constexpr T f(T x) { return x < 0 ? slope * x : x; }
  static constexpr T df(T x, T, T dy) { return x <= 0 ? slope * dy : dy; }
};
/// x * Phi(x), Phi the normal distribution function (Hendrycks and Gimpel 2016), exact form.
template <class T>
struct gelu {
  static constexpr T sqrt_half = static_cast<T>(0.70710678118654752440),
                     density = static_cast<T>(0.39894228040143267794);
  static constexpr T distribution(T x) { return std::erfc(-x * sqrt_half) / 2; }
  static constexpr T f(T x) { return x * distribution(x); }
  static constexpr T df(T x, T, T dy) { return dy * (distribution(x) + x * density * exp_of(-x * x / 2)); }
};
template <class T>
struct softplus {
  static constexpr T f(T x) { return (x > 0 ? x : T{0}) + std::log1p(exp_of(-std::abs(x))); }
  static constexpr T df(T x, T, T dy) { return dy * sigmoid<T>::f(x); }
};
template <class T>
struct sign {
  static constexpr T f(T x) { return sign_of(x); }
  static constexpr T df(T, T, T) { return 0; }
};
template <class T>
struct floor {
  static constexpr T f(T x) { return std::floor(x); }
  static constexpr T df(T, T, T) { return 0; }
};
template <class T>
struct ceil {
  static constexpr T f(T x) { return std::ceil(x); }
  static constexpr T df(T, T, T) { return 0; }
};
/// To the nearest integer, halves to even.
template <class T>
struct round {
  static constexpr T f(T x) { return std::nearbyint(x); }
  static constexpr T df(T, T, T) { return 0; }
};

template <class T>
struct add {
  static constexpr T f(T a, T b) { return a + b; }
};
template <class T>
struct sub {
  static constexpr T f(T a, T b) { return a - b; }
};
template <class T>
struct mul {
  static constexpr T f(T a, T b) { return a * b; }
};
template <class T>
struct div {
  static constexpr T f(T a, T b) { return a / b; }
};
template <class T>
struct max {
  static constexpr T f(T a, T b) { return a > b || a != a ? a : b; }
};
template <class T>
struct min {
  static constexpr T f(T a, T b) { return a < b || a != a ? a : b; }
};
template <class T>
struct pow {
  static constexpr T f(T a, T b) { return std::pow(a, b); }
};
template <class T>
struct greater {
  static constexpr T f(T a, T b) { return a > b ? T{1} : T{0}; }
};
template <class T>
struct greater_equal {
  static constexpr T f(T a, T b) { return a >= b ? T{1} : T{0}; }
};
template <class T>
struct equal {
  static constexpr T f(T a, T b) { return a == b ? T{1} : T{0}; }
};
template <class T>
struct keep {
  static constexpr T f(T a, T b) { return b != T{0} ? a : T{0}; }
};

}  // namespace hashgrad::cpu::functions
