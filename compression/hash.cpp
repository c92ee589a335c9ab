#include "compression/hash.h"

#include <algorithm>

#include "compression/layers.h"
#include "cpu/hash_gemm.h"
#include "nn/materialise.h"
#include "nn/randomised.h"

namespace hashgrad {
namespace {

/// The bucket values whose virtual matrix is nearest to `dense` in the least-squares sense: the mean of
/// sign * dense over each bucket, 0 for an empty one.
void fit(const cpu::HashedMatrix& v, const Tensor& dense, Tensor buckets) {
  for_float_type(dense.dtype(), "compress hash", [&]<class T>() {
    const std::vector<T> ones(static_cast<size_t>(v.buckets()), T{1});
    std::vector<T> signs(static_cast<size_t>(v.rows() * v.columns())), counts(ones.size());
    cpu::materialise(v, ones.data(), signs.data());  // sign(i,j)
    cpu::scatter(v, signs.data(), counts.data());    // sum of sign * sign: the occupancy
    T* w = buckets.data<T>();
    cpu::scatter(v, dense.data<T>(), w);
    for (size_t b = 0; b < counts.size(); ++b)
      if (counts[b] > 0) w[b] /= counts[b];
  });
}

}  // namespace

Model compress_hash(const Model& model, const HashCompression& options) {
  check(model.device() == Device{}, "compress hash: the model is on {}; move it to the CPU",
        to_string(model.device()));
  check(options.rate > 0 && options.rate <= 1, "compress hash: rate {}, a number in (0,1] expected",
        options.rate);
  check(
      !randomised(model),
      "compress hash: the model's defence draws random numbers at every answer; compress first, then defend");
  const std::vector<size_t> chosen = select_layers(model.spec(), options.layers, "compress hash");
  Spec spec = model.spec();
  const bool some_hashed =
      std::any_of(spec.layers.begin(), spec.layers.end(), [](auto& l) { return l.hashed(); });
  check(!some_hashed || options.hash == model.hash(),
        "compress hash: the model has hashed layers already, with another hash seed, mode or bias option");
  for (const size_t i : chosen) {
    check(!spec.layers[i].hashed(), "compress hash: layer {} ({}) is hashed already", i,
          to_string(spec.layers[i]));
    for (const char* part : {"weight", "bias"})
      check(model.coding.of(fmt::format("{}.{}", i, part)).plain(),
            "compress hash: layer {} ({}) is pruned, shared or in fixed point; hash it first", i,
            to_string(spec.layers[i]));
    spec.layers[i].rate = options.rate;
  }
  Model result(spec, {.dtype = model.dtype(), .seed = options.seed, .hash = options.hash});
  result.coding = model.coding;
  result.inherit(model);
  copy_other_layers(model, result, chosen);
  if (options.start == HashCompression::Start::scratch) return result;
  const auto dense = model.state(), hashed = result.state();
  for (const size_t i : chosen) {
    const HashedMatrices v = result.hashed_matrices(i);
    const std::string weight = fmt::format("{}.weight", i), bias = fmt::format("{}.bias", i);
    fit(*v.weights, dense.at(weight), hashed.at(weight));
    if (v.bias)
      fit(*v.bias, dense.at(bias), hashed.at(bias));
    else if (spec.layers[i].bias)
      Tensor(hashed.at(bias)).copy_from(dense.at(bias));
  }
  return result;
}

}  // namespace hashgrad
