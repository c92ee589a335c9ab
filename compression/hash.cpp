#include "compression/hash.h"

#include <algorithm>
#include <fmt/ranges.h>

#include "compression/layers.h"
#include "cpu/hash_gemm.h"
#include "nn/materialise.h"
#include "nn/randomised.h"

namespace hashgrad {
namespace {

/// The bucket values whose virtual matrix is nearest to `dense` in the least-squares sense: the mean of
/// sign * dense over each bucket, 0 for an empty one.
void fit(const cpu::HashedMatrix& v, const Tensor& dense, Tensor buckets) {
  const std::vector<int64_t> counts = occupancy(v);
  for_float_type(dense.dtype(), "compress hash", [&]<class T>() {
    T* w = buckets.data<T>();
    cpu::scatter(v, dense.data<T>(), w);
    for (size_t b = 0; b < counts.size(); ++b)
      if (counts[b] > 0) w[b] /= static_cast<T>(counts[b]);
  });
}

/// An Error unless layer i can be hashed.
void check_plain(const Model& model, size_t i) {
  const LayerSpec& layer = model.spec().layers[i];
  check(!layer.hashed(), "compress hash: layer {} ({}) is hashed already", i, to_string(layer));
  for (const char* part : {"weight", "bias"})
    check(model.coding.of(model.parameter_name(i, part)).plain(),
          "compress hash: layer {} ({}) is pruned, shared or in fixed point; hash it first", i,
          to_string(layer));
}

/// One rate for each of `layers` chosen layers.
std::vector<double> rates_of(const HashCompression& options, size_t layers) {
  const std::vector<double> rates =
      options.rates.empty() ? std::vector<double>(layers, options.rate) : options.rates;
  for (const double rate : rates)
    check(rate > 0 && rate <= 1, "compress hash: rate {}, a number in (0,1] expected", rate);
  check(rates.size() == layers, "compress hash: {} rates for the {} layers of '{}'; one, or one for each",
        rates.size(), layers, options.layers);
  return rates;
}

void fit_layers(const Model& model, const Model& result, const std::vector<size_t>& chosen) {
  const auto dense = model.state(), hashed = result.state();
  for (const size_t i : chosen) {
    const HashedMatrices v = result.hashed_matrices(i);
    const std::string weight = model.parameter_name(i, "weight"), bias = model.parameter_name(i, "bias");
    fit(*v.weights, dense.at(weight), hashed.at(weight));
    if (v.bias)
      fit(*v.bias, dense.at(bias), hashed.at(bias));
    else if (model.spec().layers[i].bias)
      Tensor(hashed.at(bias)).copy_from(dense.at(bias));
  }
}

}  // namespace

Model compress_hash(const Model& model, const HashCompression& options) {
  check(model.device() == Device{}, "compress hash: the model is on {}; move it to the CPU",
        to_string(model.device()));
  check(
      !randomised(model),
      "compress hash: the model's defence draws random numbers at every answer; compress first, then defend");
  const std::vector<size_t> chosen = select_layers(model.spec(), options.layers, "compress hash");
  const std::vector<double> rates = rates_of(options, chosen.size());
  Spec spec = model.spec();
  const bool some_hashed =
      std::any_of(spec.layers.begin(), spec.layers.end(), [](auto& l) { return l.hashed(); });
  check(!some_hashed || options.hash == model.hash(),
        "compress hash: the model has hashed layers already, with another hash seed, mode or bias option");
  for (size_t n = 0; n < chosen.size(); ++n) {
    check_plain(model, chosen[n]);
    spec.layers[chosen[n]].rate = rates[n];
  }
  Model result(spec, {.dtype = model.dtype(), .seed = options.seed, .hash = options.hash});
  result.coding = model.coding;
  result.inherit(model);
  copy_other_layers(model, result, chosen);
  const bool fitted = options.start == HashCompression::Start::projection;
  if (fitted) fit_layers(model, result, chosen);
  result.metadata["compress.hash"] = fmt::format("rates {}, layers {}, start {}", fmt::join(rates, ","),
                                                 options.layers, fitted ? "projection" : "scratch");
  return result;
}

}  // namespace hashgrad
