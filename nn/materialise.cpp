#include "nn/materialise.h"

#include <set>

#include "cpu/hash_gemm.h"
#include "nn/randomised.h"

namespace hashgrad {
namespace {

void expand(const cpu::HashedMatrix& v, const Tensor& buckets, Tensor dense) {
  for_float_type(dense.dtype(), "materialise",
                 [&]<class T>() { cpu::materialise(v, buckets.data<T>(), dense.data<T>()); });
}

}  // namespace

void copy_other_layers(const Model& from, const Model& to, const std::vector<size_t>& layers) {
  std::set<std::string> others;
  for (const size_t i : layers)
    for (const char* part : {"weight", "bias"}) others.insert(to.parameter_name(i, part));
  const auto source = from.state();
  for (auto& [name, tensor] : to.state())
    if (!others.contains(name)) Tensor(tensor).copy_from(source.at(name));
}

std::vector<int64_t> occupancy(const cpu::HashedMatrix& v) {
  std::vector<int64_t> counts(static_cast<size_t>(v.buckets()));
  for (int64_t i = 0; i < v.rows(); ++i)
    for (int64_t j = 0; j < v.columns(); ++j) ++counts[v.slot(i, j) >> 1];
  return counts;
}

Model materialise(const Model& model) {
  if (model.device() != Device{}) return materialise(model.to(Device{})).to(model.device());
  Spec spec = model.spec();
  std::vector<size_t> hashed;
  for (size_t i = 0; i < spec.layers.size(); ++i) {
    if (spec.layers[i].hashed()) hashed.push_back(i);
    spec.layers[i].rate = 0;
  }
  for (const size_t i : hashed)
    check(!draws_at(model, i),
          "materialise: a defence draws one number for each bucket of layer {}, which plain weights cannot "
          "follow; "
          "materialise first, then defend",
          i);
  Model twin(spec, {.dtype = model.dtype(), .init = Init::zeros});
  twin.coding.activations = model.coding.activations;
  twin.inherit(model);
  copy_other_layers(model, twin, hashed);
  const auto from = model.state(), to = twin.state();
  for (const size_t i : hashed) {
    const HashedMatrices v = model.hashed_matrices(i);
    const std::string weight = twin.parameter_name(i, "weight"), bias = twin.parameter_name(i, "bias");
    expand(*v.weights, from.at(weight), to.at(weight));
    if (v.bias)
      expand(*v.bias, from.at(bias), to.at(bias));
    else if (spec.layers[i].bias)
      Tensor(to.at(bias)).copy_from(from.at(bias));
  }
  return twin;
}

}  // namespace hashgrad
