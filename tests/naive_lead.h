// A linear model written out in plain float64, for transcriptions of attacks that share no code with them.
#pragma once

#include <cmath>
#include <limits>
#include <vector>

#include "tests/attack_models.h"

namespace hashgrad::testing {

using Pixels = std::vector<double>;

/// logits = weight x + bias, and what an attack on label y (target t, or -1) wants of them.
struct NaiveModel {
  std::vector<double> weight, bias;  // [classes, features], [classes]
  int64_t y, t = -1;

  struct Lead {
    double value;  // of the wanted class over the largest other
    Pixels gradient;
  };
  Lead lead(const Pixels& x) const {
    const size_t n = x.size(), pivot = static_cast<size_t>(t < 0 ? y : t);
    std::vector<double> z = bias;
    for (size_t k = 0; k < z.size(); ++k)
      for (size_t i = 0; i < n; ++i) z[k] += weight[k * n + i] * x[i];
    size_t other = pivot == 0 ? 1 : 0;
    for (size_t k = 0; k < z.size(); ++k)
      if (k != pivot && z[k] > z[other]) other = k;
    const double sign = t < 0 ? -1 : 1;
    Lead result{sign * (z[pivot] - z[other]), Pixels(n)};
    for (size_t i = 0; i < n; ++i)
      result.gradient[i] = sign * (weight[pivot * n + i] - weight[other * n + i]);
    return result;
  }
  Model model() const { return linear_model(weight, bias); }
  AttackInput input(const Pixels& x) const {
    return {Tensor::of(x, {1, 1, 1, static_cast<int64_t>(x.size())}),
            classes({y}),
            t < 0 ? Tensor() : classes({t}),
            {}};
  }
};

/// Adam on w with x = (tanh(w) + 1) / 2, as the papers write it.
struct NaiveTanhAdam {
  explicit NaiveTanhAdam(const Pixels& image) : m(image.size(), 0), v(image.size(), 0) {
    for (const double x : image) w.push_back(std::atanh(0.999999 * (2 * x - 1)));
  }
  Pixels image() const {
    Pixels x;
    for (const double u : w) x.push_back((std::tanh(u) + 1) / 2);
    return x;
  }
  void step(const Pixels& gradient, double lr, bool tf1) {
    ++taken;
    const double c1 = 1 - std::pow(0.9, taken), c2 = 1 - std::pow(0.999, taken);
    for (size_t i = 0; i < w.size(); ++i) {
      const double g = gradient[i] * (1 - std::tanh(w[i]) * std::tanh(w[i])) / 2;
      m[i] = 0.9 * m[i] + (1 - 0.9) * g;
      v[i] = 0.999 * v[i] + (1 - 0.999) * g * g;
      w[i] -= tf1 ? lr * std::sqrt(c2) / c1 * m[i] / (std::sqrt(v[i]) + 1e-8)
                  : lr * (m[i] / c1) / (std::sqrt(v[i] / c2) + 1e-8);
    }
  }
  Pixels w, m, v;
  double taken = 0;
};

/// What a transcription found: the best image, its distance, passes in all and up to the first success.
struct NaiveResult {
  Pixels best;
  double distance = std::numeric_limits<double>::infinity();
  int64_t passes = 0, first = -1;
};

inline double largest_difference(const Pixels& a, const Pixels& b) {
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

/// Three classes on four pixels; class 0 leads at `naive_image`, whose pixels include 0 and 1.
inline NaiveModel naive_model(int64_t target = -1) {
  return {{1, -2, 0.5, 1, -1, 1, 0.25, -2, 0.5, 2, -1, 0.5}, {-1, 0.25, -0.5}, 0, target};
}
inline const Pixels naive_image{0.625, 0, 1, 0.375};

}  // namespace hashgrad::testing
