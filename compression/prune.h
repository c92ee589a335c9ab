// Magnitude pruning: weights near zero become zero, and stay it when the network is trained further.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "nn/model.h"

namespace hashgrad {

struct Pruning {
  enum class Rule {
    threshold,  ///< keep |w| >= value, value >= 0 (C-E2)
    percent,  ///< keep |w| >= the value-th percentile of |w| over the weights that are not zero, in (0, 100)
              ///< (D2)
    density   ///< keep the round(value * n) largest |w| of n weights, in (0, 1]; of equals those with lower
              ///< index
  };
  Rule rule = Rule::density;
  double value = 0.1;
  std::string layers = "all";  // or "last:k", of the fully connected and convolution layers
  bool global = false;  ///< percentile and density of all these layers together, not of each; no threshold
};

/// A model whose chosen layers are pruned: weights (of hashed layers the bucket values), never biases.
/// Errors: values out of range, layers that are pruned already, fewer weights other than zero than the
/// density asks for, and a layer that would keep no weight at all.
Model compress_prune(const Model& model, const Pruning& options);

/// Pruning in small steps with training between them (D2: 20 rounds of 5 % and 10 %).
struct IterativePruning {
  int64_t rounds = 20;
  /// Per round, of the weights left; percentiles as Rule::percent, 0: none.
  double conv_percent = 5, fc_percent = 10;
  std::string layers = "all";
};

/// Each round prunes every chosen layer by its percentile and hands the model to `retrain` with the number of
/// the round, from 1.
Model compress_iterative_prune(const Model& model, const IterativePruning& options,
                               const std::function<void(Model&, int64_t round)>& retrain);

/// The percentile, in [0, 100], of values in any order, at least one: at rank p / 100 * (n - 1) of the sorted
/// values, between two ranks on the straight line.
double percentile(std::vector<double> values, double percent);

}  // namespace hashgrad
