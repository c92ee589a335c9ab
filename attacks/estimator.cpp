#include "attacks/estimator.h"

#include <algorithm>
#include <cmath>

namespace hashgrad {
namespace {

/// mean |v| of n values.
template <class T>
double mean_size(const T* v, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += std::abs(static_cast<double>(v[i]));
  return sum / static_cast<double>(n);
}

/// Mean squared distance of n values from their mean.
template <class T>
double variance(const T* v, int64_t n) {
  double mean = 0, squares = 0;
  for (int64_t i = 0; i < n; ++i) mean += static_cast<double>(v[i]) / static_cast<double>(n);
  for (int64_t i = 0; i < n; ++i) {
    const double d = static_cast<double>(v[i]) - mean;
    squares += d * d;
  }
  return squares / static_cast<double>(n);
}

}  // namespace

Estimate estimate_robustness(const Oracle& oracle, const Tensor& x) {
  const int64_t n = x.size(0);
  check(n > 0, "estimator: no images");
  // A Jacobian has an image for each class: no more of these at a time than there are images in a pass.
  const int64_t rows = std::max<int64_t>(1, oracle.batch() / oracle.model().classes());
  Estimate sum;
  for (int64_t begin = 0; begin < n; begin += rows) {
    const Tensor part = x.slice(0, begin, std::min(n, begin + rows)).contiguous();
    const Tensor logits = oracle.logits(part).to(Device{});                     // [B,m]
    const Tensor slopes = oracle.jacobian(part, Outputs::logits).to(Device{});  // [B,m,C,H,W]
    const int64_t m = logits.size(1), entries = slopes.numel() / slopes.size(0);
    for_float_type(logits.dtype(), "estimator", [&]<class T>() {
      for (int64_t i = 0; i < logits.size(0); ++i) {
        const double g = mean_size(slopes.data<T>() + i * entries, entries);
        const double phi = variance(logits.data<T>() + i * m, m);
        check(std::isfinite(g) && std::isfinite(phi),
              "estimator: logits or derivatives of image {} are not finite", begin + i);
        sum.g += g;
        sum.phi += phi;
      }
    });
  }
  return {sum.g / static_cast<double>(n), sum.phi / static_cast<double>(n)};
}

double robustness(const Estimate& estimate, double alpha) {
  check(alpha >= 0 && alpha <= 1, "estimator: alpha {}, a number in [0,1] expected", alpha);
  return alpha * estimate.g + (1 - alpha) * estimate.phi;
}

}  // namespace hashgrad
