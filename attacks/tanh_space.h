// Images as x = (tanh(w) + 1) / 2 (Carlini and Wagner, S&P 2017): wherever an optimiser takes w, x is in
// the box [0,1]; and Adam on w.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "attacks/registry.h"
#include "attacks/row_loops.h"
#include "cpu/attack_step.h"
#include "cpu/tanh_pixel.h"

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
  std::vector<T> slopes(static_cast<size_t>(pixels()));
  for (size_t i = 0; i < slopes.size(); ++i) slopes[i] = gradient(static_cast<int64_t>(i));
  cpu::descend_tanh(pixels(), static_cast<T>(step.rate), static_cast<T>(step.eps), slopes.data(),
                    row_data<T>(w, row), row_data<T>(m, row), row_data<T>(v, row), row_data<T>(x, row));
}

}  // namespace hashgrad
