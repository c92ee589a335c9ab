// Counting successes honestly: three definitions, each with its interval; and how small gradients are.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/tensor.h"

namespace hashgrad {

struct Interval {
  double low, high;
};
/// Wilson's score interval of a share (95 % by default); [0,1] for no trials.
Interval wilson(int64_t hits, int64_t trials, double z = 1.959963984540054);

/// A share with what it is a share of.
struct Rate {
  int64_t hits = 0, trials = 0;
  /// Trials of one image, one for each target: no independent evidence, so that the interval is that of the
  /// same share of `trials / per_image` images.
  int64_t per_image = 1;
  double value() const { return trials == 0 ? 0 : static_cast<double>(hits) / static_cast<double>(trials); }
  Interval interval() const;
};

/// Median of `values` [N] float64 over the rows that an attack broke: `success` [N] uint8 is 1 and `status`
/// [N] int64 not Status::already_wrong. Of an even number the larger middle one; nothing for none.
std::optional<double> median_of_successes(const Tensor& values, const Tensor& success, const Tensor& status);

/// The same predictions counted the ways that papers count them.
struct SuccessRates {
  Rate wrong;        ///< prediction under attack != label, of all images
  Rate broken;       ///< the same, of the images that were right before the attack
  Rate changed;      ///< prediction under attack != clean prediction, of all images
  Rate clean_wrong;  ///< prediction != label without any attack, of all images
};
/// All three of one length; `per_image` as in Rate.
SuccessRates success_rates(const std::vector<int64_t>& labels, const std::vector<int64_t>& clean,
                           const std::vector<int64_t>& attacked, int64_t per_image = 1);

/// How large the gradient of each image is: mean |gradient| over its pixels, by decades (A-F7, A-F9). Exact
/// zeros are counted apart, because underflow and a small gradient are not the same thing.
struct GradientHistogram {
  static constexpr int first_decade = -45, last_decade = 5;
  int64_t images = 0;
  int64_t zeros = 0;            ///< every element of the gradient is exactly 0
  int64_t not_finite = 0;       ///< NaN or infinite
  int64_t below = 0;            ///< 0 < mean < 1e-45
  std::vector<int64_t> counts;  ///< counts[d]: 10^(first_decade + d) <= mean < 10^(first_decade + d + 1); the
                                ///< last also holds all larger ones

  Rate zero_share() const { return {zeros, images}; }
  /// Images with low <= mean < high; both powers of ten.
  Rate between(double low, double high) const;
};
/// Of gradients [N,...] on any device.
GradientHistogram gradient_histogram(const Tensor& gradients);

}  // namespace hashgrad
