// How the weights of a network are spread (A-F6).
#pragma once

#include <cstdint>
#include <vector>

#include "nn/model.h"

namespace hashgrad::liu2018 {

struct WeightHistogram {
  static constexpr double edge = 0.5, width = 0.02;

  int64_t weights = 0;
  double largest = 0;  ///< |w|
  double range = 0;    ///< 99.9 % of the weights lie within plus and minus this
  /// counts[b]: -edge + b * width <= w < -edge + (b + 1) * width; the first and the last hold all beyond,
  /// too.
  std::vector<int64_t> counts;
};
/// Of one weight at least.
WeightHistogram weight_histogram(const std::vector<double>& weights);

/// The weights of all layers as a forward pass sees them, hashed ones one by one; no biases.
std::vector<double> all_weights(const Model& model);

}  // namespace hashgrad::liu2018
