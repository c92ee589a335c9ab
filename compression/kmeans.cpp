#include "compression/kmeans.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "compression/layers.h"

namespace hashgrad {
namespace {

using Centroids = std::vector<double>;

Centroids spread(double low, double high, int64_t clusters) {
  Centroids centroids;
  for (int64_t k = 0; k < clusters; ++k)
    centroids.push_back(clusters == 1 ? low
                                      : low + (high - low) * static_cast<double>(k) /
                                                  static_cast<double>(clusters - 1));
  return centroids;
}

/// Values below or on `midpoint` belong to the lower of two neighbours.
double midpoint(double a, double b) { return a + (b - a) / 2; }

/// Where the values of each cluster end among the sorted values.
std::vector<size_t> ends_of(const std::vector<double>& sorted, const Centroids& centroids) {
  std::vector<size_t> ends;
  for (size_t k = 0; k + 1 < centroids.size(); ++k) {
    const double border = midpoint(centroids[k], centroids[k + 1]);
    ends.push_back(
        static_cast<size_t>(std::upper_bound(sorted.begin(), sorted.end(), border) - sorted.begin()));
  }
  ends.push_back(sorted.size());
  return ends;
}

void move_to_means(const std::vector<double>& sorted, const std::vector<size_t>& ends, Centroids& centroids) {
  size_t begin = 0;
  for (size_t k = 0; k < ends.size(); begin = ends[k++]) {
    if (begin == ends[k]) continue;
    const auto first = sorted.begin() + static_cast<std::ptrdiff_t>(begin);
    const auto last = sorted.begin() + static_cast<std::ptrdiff_t>(ends[k]);
    centroids[k] = std::accumulate(first, last, 0.0) / static_cast<double>(ends[k] - begin);
  }
}

void share(Tensor weight, int bits) {
  for_float_type(weight.dtype(), "compress kmeans", [&]<class T>() {
    std::vector<double> values;
    T* w = weight.data<T>();
    for (int64_t i = 0; i < weight.numel(); ++i)
      if (w[i] != 0) values.push_back(static_cast<double>(w[i]));
    if (values.empty()) return;
    const Centroids centroids = lloyd(std::move(values), int64_t{1} << bits);
    for (int64_t i = 0; i < weight.numel(); ++i)
      w[i] = w[i] == 0 ? T{0} : static_cast<T>(nearest(centroids, static_cast<double>(w[i])));
  });
}

}  // namespace

std::vector<double> lloyd(std::vector<double> values, int64_t clusters) {
  std::sort(values.begin(), values.end());
  Centroids centroids = spread(values.front(), values.back(), clusters);
  for (std::vector<size_t> ends, before; ends.empty() || ends != before;) {
    before = std::exchange(ends, ends_of(values, centroids));
    move_to_means(values, ends, centroids);
  }
  return centroids;
}

double nearest(const std::vector<double>& ascending, double value) {
  const auto above = std::lower_bound(ascending.begin(), ascending.end(), value);
  if (above == ascending.begin()) return *above;
  if (above == ascending.end()) return ascending.back();
  return value <= midpoint(*(above - 1), *above) ? *(above - 1) : *above;
}

Model compress_kmeans(const Model& model, const KMeans& options) {
  check(model.device() == Device{}, "compress kmeans: the model is on {}; move it to the CPU",
        to_string(model.device()));
  check(options.bits >= 1 && options.bits <= most_shared_bits, "compress kmeans: bits {}, 1 to {} expected",
        options.bits, most_shared_bits);
  Model result = model.clone();
  for (const size_t i : select_layers(model.spec(), options.layers, "compress kmeans")) {
    const std::string name = model.parameter_name(i, "weight");
    ParameterCoding& coding = result.coding.parameters[name];
    check(coding.shared_bits == 0 && !coding.fixed_point, "compress kmeans: layer {} ({}) is {} already", i,
          to_string(model.spec().layers[i]), coding.fixed_point ? "in fixed point" : "shared");
    coding.shared_bits = options.bits;
    share(result.parameter(name).value(), options.bits);
  }
  result.metadata["compress.kmeans"] = fmt::format("bits {}, layers {}", options.bits, options.layers);
  return result;
}

}  // namespace hashgrad
