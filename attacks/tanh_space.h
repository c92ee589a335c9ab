// Images as x = (tanh(w) + 1) / 2 (Carlini and Wagner, S&P 2017): wherever an optimiser takes w, x is in
// the box [0,1]; and Adam on w.
#pragma once

#include <cmath>
#include <string>

#include "attacks/registry.h"
#include "attacks/row_loops.h"
#include "cpu/exp.h"

namespace hashgrad {

/// Where Adam's eps = 1e-8 stands: `tf1` under sqrt(v) as it is (TensorFlow 1, and so the original attacks),
/// `corrected` under sqrt(v / (1 - beta2^t)) (the paper of Kingma and Ba, and PyTorch). It shows where
/// gradients are below 1e-6.
enum class AdamEps { tf1, corrected };
AdamEps parse_adam_eps(const std::string& text);
const char* name_of(AdamEps eps);
AttackSetting adam_eps_setting();

/// w -= rate * m / (sqrt(v) + eps) is step `taken` (from 1) of Adam with beta 0.9 and 0.999.
struct AdamStep {
  AdamStep(double lr, int64_t taken, AdamEps mode);
  double rate, eps;
};

/// A pixel and its slope d x / d w. Both w >> 0 and w << 0 lose nothing to rounding, so that pixels next to
/// 0 and 1 keep a slope.
template <class T>
struct TanhPixel {
  T x, slope;
};
template <class T>
[[gnu::always_inline]] inline TanhPixel<T> tanh_pixel(T w) {
  const T e = cpu::exp_inline<T>(T{-2} * (w < 0 ? -w : w));
  const T large = T{1} / (T{1} + e), small = e * large;
  return {w < 0 ? small : large, T{2} * small * large};
}

/// arctanh(0.999999 (2 x - 1)): a pixel of exactly 0 or 1 gets a finite w, and so can move.
template <class T>
T tanh_inverse(T x) {
  return static_cast<T>(std::atanh(0.999999 * (2 * static_cast<double>(x) - 1)));
}

/// Iterates in tanh space, one entry per row in each.
struct TanhRows {
  /// At the images themselves, or as near as tanh_inverse comes.
  explicit TanhRows(const Tensor& images);

  /// Row `row` back to its image.
  template <class T>
  void restart(size_t row, const T* image);
  /// Adam forgets what it knows of row `row`.
  template <class T>
  void forget(size_t row);
  /// One step of Adam on row `row`; gradient(i) is d loss / d x[i] at its old x.
  template <class T, class F>
  void descend(size_t row, const AdamStep& step, const F& gradient);

  int64_t pixels() const { return x.numel() / x.size(0); }

  Tensor anchor;   // where the rows started; distances in losses are from here, so that they start at 0
  Tensor w, m, v;  // where Adam is, and its moments
  Tensor x;        // [N,C,H,W], images of w
};

template <class T, class F>
void TanhRows::descend(size_t row, const AdamStep& step, const F& gradient) {
  const T rate = static_cast<T>(step.rate), eps = static_cast<T>(step.eps);
  const T beta1 = static_cast<T>(0.9), beta2 = static_cast<T>(0.999);
  const T rest1 = static_cast<T>(1 - 0.9), rest2 = static_cast<T>(1 - 0.999);
  T *w_row = row_data<T>(w, row), *m_row = row_data<T>(m, row), *v_row = row_data<T>(v, row);
  T* x_row = row_data<T>(x, row);
  const int64_t n = pixels();
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) {
    const T g = gradient(i) * tanh_pixel(w_row[i]).slope;
    const T m_new = beta1 * m_row[i] + rest1 * g, v_new = beta2 * v_row[i] + rest2 * g * g;
    const T w_new = w_row[i] - rate * m_new / (std::sqrt(v_new) + eps);
    m_row[i] = m_new;
    v_row[i] = v_new;
    w_row[i] = w_new;
    x_row[i] = tanh_pixel(w_new).x;
  }
}

}  // namespace hashgrad
