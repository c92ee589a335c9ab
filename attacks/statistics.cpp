#include "attacks/statistics.h"

#include <algorithm>
#include <cmath>

#include "attacks/attack.h"

namespace hashgrad {
namespace {

/// floor(log10(v)) for v > 0, exact at powers of ten.
int decade(double v) {
  int d = static_cast<int>(std::floor(std::log10(v)));
  if (std::pow(10.0, d) > v) --d;
  if (std::pow(10.0, d + 1) <= v) ++d;
  return d;
}

}  // namespace

Interval wilson(int64_t hits, int64_t trials, double z) {
  check(0 <= hits && hits <= trials, "wilson: {} hits in {} trials", hits, trials);
  if (trials == 0) return {0, 1};
  const double n = static_cast<double>(trials), p = static_cast<double>(hits) / n, z2 = z * z;
  const double centre = (p + z2 / (2 * n)) / (1 + z2 / n);
  const double half = z / (1 + z2 / n) * std::sqrt(p * (1 - p) / n + z2 / (4 * n * n));
  return {hits == 0 ? 0 : std::max(0.0, centre - half), hits == trials ? 1 : std::min(1.0, centre + half)};
}

Interval Rate::interval() const {
  const int64_t images = trials == 0 ? 0 : std::max<int64_t>(1, trials / per_image);
  return wilson(std::llround(value() * static_cast<double>(images)), images);
}

std::optional<double> median_of_successes(const Tensor& values, const Tensor& success, const Tensor& status) {
  std::vector<double> kept;
  for (int64_t n = 0; n < values.size(0); ++n)
    if (success.data<uint8_t>()[n] &&
        status.data<int64_t>()[n] != static_cast<int64_t>(Status::already_wrong))
      kept.push_back(values.data<double>()[n]);
  if (kept.empty()) return std::nullopt;
  std::nth_element(kept.begin(), kept.begin() + static_cast<std::ptrdiff_t>(kept.size() / 2), kept.end());
  return kept[kept.size() / 2];
}

SuccessRates success_rates(const std::vector<int64_t>& labels, const std::vector<int64_t>& clean,
                           const std::vector<int64_t>& attacked, int64_t per_image) {
  check(labels.size() == clean.size() && labels.size() == attacked.size(),
        "success_rates: {} labels, {} clean and {} attacked predictions", labels.size(), clean.size(),
        attacked.size());
  SuccessRates rates;
  for (size_t i = 0; i < labels.size(); ++i) {
    const bool right = clean[i] == labels[i], wrong = attacked[i] != labels[i];
    rates.wrong.hits += wrong;
    rates.broken.trials += right;
    rates.broken.hits += right && wrong;
    rates.changed.hits += attacked[i] != clean[i];
    rates.clean_wrong.hits += !right;
  }
  rates.wrong.trials = rates.changed.trials = rates.clean_wrong.trials = static_cast<int64_t>(labels.size());
  for (Rate* rate : {&rates.wrong, &rates.broken, &rates.changed, &rates.clean_wrong})
    rate->per_image = per_image;
  return rates;
}

Rate GradientHistogram::between(double low, double high) const {
  check(low > 0 && low <= high, "gradient_histogram: no decades from {} to {}", low, high);
  Rate rate{0, images};
  for (int d = std::max(decade(low), first_decade); d < decade(high) && d <= last_decade; ++d)
    rate.hits += counts[static_cast<size_t>(d - first_decade)];
  return rate;
}

GradientHistogram gradient_histogram(const Tensor& gradients) {
  const Tensor gradient = gradients.to(Device{}).contiguous();
  GradientHistogram h;
  h.counts.resize(GradientHistogram::last_decade - GradientHistogram::first_decade + 1);
  h.images = gradient.size(0);
  const int64_t d = h.images == 0 ? 0 : gradient.numel() / h.images;
  for_float_type(gradient.dtype(), "gradient_histogram", [&]<class T>() {
    const T* g = gradient.data<T>();
    for (int64_t i = 0; i < h.images; ++i) {
      double sum = 0;
      for (int64_t j = i * d; j < (i + 1) * d; ++j) sum += std::abs(static_cast<double>(g[j]));
      const double mean = sum / static_cast<double>(d);
      if (sum == 0)
        ++h.zeros;
      else if (!std::isfinite(mean))
        ++h.not_finite;
      else if (decade(mean) < GradientHistogram::first_decade)
        ++h.below;
      else
        ++h.counts[static_cast<size_t>(std::min(decade(mean), GradientHistogram::last_decade) -
                                       GradientHistogram::first_decade)];
    }
  });
  return h;
}

}  // namespace hashgrad
