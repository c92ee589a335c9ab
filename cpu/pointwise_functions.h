// The elementwise functions: f(x), and df(x, y, dy) = dy * f'(x) given y = f(x). cpu/pointwise.h lists their
// names.
#pragma once

#include <cmath>

#include "cpu/exp.h"

namespace hashgrad::cpu::functions {

template <class T>
[[gnu::always_inline]] inline T sign_of(T x) {
  return x > 0 ? T{1} : x < 0 ? T{-1} : x * 0;  // 0 at zero, NaN at NaN
}

template <class T>
struct neg {
  static T f(T x) { return -x; }
  static T df(T, T, T dy) { return -dy; }
};
template <class T>
struct abs {
  static T f(T x) { return std::abs(x); }
  static T df(T x, T, T dy) { return dy * sign_of(x); }
};
template <class T>
struct exp {
  static T f(T x) { return exp_inline(x); }
  static T df(T, T y, T dy) { return dy * y; }
};
template <class T>
struct log {
  static T f(T x) { return std::log(x); }
  static T df(T x, T, T dy) { return dy / x; }
};
template <class T>
struct sqrt {
  static T f(T x) { return std::sqrt(x); }
  static T df(T, T y, T dy) { return dy / (2 * y); }
};
template <class T>
struct square {
  static T f(T x) { return x * x; }
  static T df(T x, T, T dy) { return 2 * x * dy; }
};
template <class T>
struct reciprocal {
  static T f(T x) { return 1 / x; }
  static T df(T, T y, T dy) { return -dy * y * y; }
};
template <class T>
struct sin {
  static T f(T x) { return std::sin(x); }
  static T df(T x, T, T dy) { return dy * std::cos(x); }
};
template <class T>
struct cos {
  static T f(T x) { return std::cos(x); }
  static T df(T x, T, T dy) { return -dy * std::sin(x); }
};
template <class T>
struct tanh {
  static T f(T x) { return std::tanh(x); }
  static T df(T, T y, T dy) { return dy * (1 - y * y); }
};
template <class T>
struct sigmoid {
  static T f(T x) {
    const T e = exp_inline(-std::abs(x));  // never overflows, and keeps the denormal tail
    return (x < 0 ? e : T{1}) / (1 + e);
  }
  static T df(T, T y, T dy) { return dy * y * (1 - y); }
};
template <class T>
struct relu {
  static T f(T x) { return x < 0 ? T{0} : x; }
  static T df(T x, T, T dy) { return x <= 0 ? T{0} : dy; }
};
template <class T>
struct leaky_relu {
  static constexpr T slope = static_cast<T>(0.01);
  static T f(T x) { return x < 0 ? slope * x : x; }
  static T df(T x, T, T dy) { return x <= 0 ? slope * dy : dy; }
};
/// x * Phi(x), Phi the normal distribution function (Hendrycks and Gimpel 2016), exact form.
template <class T>
struct gelu {
  static constexpr T sqrt_half = static_cast<T>(0.70710678118654752440),
                     density = static_cast<T>(0.39894228040143267794);
  static T distribution(T x) { return std::erfc(-x * sqrt_half) / 2; }
  static T f(T x) { return x * distribution(x); }
  static T df(T x, T, T dy) { return dy * (distribution(x) + x * density * exp_inline(-x * x / 2)); }
};
template <class T>
struct softplus {
  static T f(T x) { return (x > 0 ? x : T{0}) + std::log1p(exp_inline(-std::abs(x))); }
  static T df(T x, T, T dy) { return dy * sigmoid<T>::f(x); }
};
template <class T>
struct sign {
  static T f(T x) { return sign_of(x); }
  static T df(T, T, T) { return 0; }
};
template <class T>
struct floor {
  static T f(T x) { return std::floor(x); }
  static T df(T, T, T) { return 0; }
};
template <class T>
struct ceil {
  static T f(T x) { return std::ceil(x); }
  static T df(T, T, T) { return 0; }
};
/// To the nearest integer, halves to even.
template <class T>
struct round {
  static T f(T x) { return std::nearbyint(x); }
  static T df(T, T, T) { return 0; }
};

template <class T>
struct add {
  static T f(T a, T b) { return a + b; }
};
template <class T>
struct sub {
  static T f(T a, T b) { return a - b; }
};
template <class T>
struct mul {
  static T f(T a, T b) { return a * b; }
};
template <class T>
struct div {
  static T f(T a, T b) { return a / b; }
};
template <class T>
struct max {
  static T f(T a, T b) { return a > b || a != a ? a : b; }
};
template <class T>
struct min {
  static T f(T a, T b) { return a < b || a != a ? a : b; }
};
template <class T>
struct pow {
  static T f(T a, T b) { return std::pow(a, b); }
};
template <class T>
struct greater {
  static T f(T a, T b) { return a > b ? T{1} : T{0}; }
};
template <class T>
struct greater_equal {
  static T f(T a, T b) { return a >= b ? T{1} : T{0}; }
};
template <class T>
struct equal {
  static T f(T a, T b) { return a == b ? T{1} : T{0}; }
};
template <class T>
struct keep {
  static T f(T a, T b) { return b != T{0} ? a : T{0}; }
};

}  // namespace hashgrad::cpu::functions
