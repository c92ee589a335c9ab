#include "experiments/liu2018/weights.h"

#include <algorithm>
#include <cmath>

#include "nn/materialise.h"

namespace hashgrad::liu2018 {

WeightHistogram weight_histogram(const std::vector<double>& weights) {
  check(!weights.empty(), "weight_histogram: no weights");
  constexpr auto bins = static_cast<int64_t>(2 * WeightHistogram::edge / WeightHistogram::width + 0.5);
  WeightHistogram h;
  h.counts.resize(bins);
  h.weights = std::ssize(weights);
  std::vector<double> sizes;
  for (const double w : weights) {
    sizes.push_back(std::abs(w));
    const double bin = std::floor((w + WeightHistogram::edge) / WeightHistogram::width);
    ++h.counts[static_cast<size_t>(std::clamp(bin, 0.0, static_cast<double>(bins - 1)))];
  }
  h.largest = *std::max_element(sizes.begin(), sizes.end());
  const auto within = static_cast<std::ptrdiff_t>(std::ceil(0.999 * static_cast<double>(sizes.size()))) - 1;
  std::nth_element(sizes.begin(), sizes.begin() + within, sizes.end());
  h.range = sizes[static_cast<size_t>(within)];
  return h;
}

std::vector<double> all_weights(const Model& model) {
  Model dense = materialise(model);
  std::vector<double> all;
  for (size_t i = 0; i < dense.spec().layers.size(); ++i) {
    if (!dense.spec().layers[i].has_weight()) continue;
    const Tensor& weight = dense.parameter(dense.parameter_name(i, "weight")).value();
    const std::vector<double> more = weight.to(DType::float64).to_vector<double>();
    all.insert(all.end(), more.begin(), more.end());
  }
  return all;
}

}  // namespace hashgrad::liu2018
