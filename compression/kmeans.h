// Weight sharing (Han, Mao, Dally, ICLR 2016): per layer, weights are clustered and each becomes its
// cluster's centroid.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nn/model.h"

namespace hashgrad {

struct KMeans {
  int bits = 5;                // 1 to 16: 2^bits centroids per layer
  std::string layers = "all";  // or "last:k", of the fully connected and convolution layers
};

/// A model whose chosen layers have at most 2^bits different weights besides zero: the weights (of hashed
/// layers the bucket values) that are not zero, clustered; zeros stay, biases too. Errors: bits out of range,
/// layers that are shared or quantised already.
Model compress_kmeans(const Model& model, const KMeans& options);

/// Lloyd's algorithm on the line, from `clusters` centroids spread evenly from the smallest value to the
/// largest: each value goes to its nearest centroid (of two equally near to the lower), each centroid to the
/// mean of its values, until no assignment changes. A centroid without values stays where it is. Centroids in
/// ascending order; at least one value.
std::vector<double> lloyd(std::vector<double> values, int64_t clusters);

/// The centroid next to a value; of two equally near the lower.
double nearest(const std::vector<double>& ascending, double value);

}  // namespace hashgrad
