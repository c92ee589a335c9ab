// The hashing trick as a compression method (Chen et al., ICML 2015): dense model in, hashed model out, and
// back.
#pragma once

#include <string>
#include <vector>

#include "nn/model.h"

namespace hashgrad {

struct HashCompression {
  double rate = 0.125;          // in (0, 1]; K = ceil(weights * rate) buckets per layer
  std::vector<double> rates{};  // one for each chosen layer, in their order; empty: `rate` for all
  std::string layers = "all";   // or "last:k", of the fully connected and convolution layers
  /// Bucket values: the least-squares fit to the trained weights, w_b = mean of sign * V over bucket b; or
  /// drawn afresh like an untrained layer's.
  enum class Start { projection, scratch } start = Start::projection;
  HashOptions hash{};
  uint64_t seed = 0;  // of `scratch`
};

/// A model whose chosen layers are hashed; everything else is copied. Errors: rates out of range, or another
/// number of them than of layers; a chosen layer that is hashed, pruned, shared or quantised already; a model
/// that is randomised (nn/randomised.h).
Model compress_hash(const Model& model, const HashCompression& options);

}  // namespace hashgrad
