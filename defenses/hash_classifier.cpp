#include "defenses/hash_classifier.h"

#include <algorithm>
#include <cmath>

#include "compression/hash.h"
#include "compression/layers.h"
#include "defenses/record.h"

namespace hashgrad {
namespace {

constexpr const char *method = "hash-classifier", *replaced = "last:2";

}  // namespace

std::vector<double> hash_classifier_rates(const Model& model) {
  const std::vector<size_t> layers = select_layers(model.spec(), replaced, method);
  for (const size_t i : layers)
    check(model.spec().layers[i].kind == LayerSpec::Kind::fc,
          "{}: layer {} ({}) is not fully connected; the last two layers with weights must be", method, i,
          to_string(model.spec().layers[i]));
  const auto inputs = [&](size_t i) { return static_cast<double>(model.shapes()[i][0]); };
  const auto outputs = static_cast<double>(model.spec().layers[layers[0]].out);
  return {std::min(1.0, 1 / (16 * std::sqrt(inputs(layers[0]) * outputs))),
          std::min(1.0, 2 / inputs(layers[1]))};
}

Model hash_classifier(const Model& model, const HashClassifier& options) {
  const std::vector<double> rule = hash_classifier_rates(model);
  const std::vector<double>& rates = options.rates.empty() ? rule : options.rates;
  Model marked = model.alias();
  record_defence(marked, {{"method", method}, {"rates", rates}, {"layers", replaced}});
  return compress_hash(marked, {.rates = rates,
                                .layers = replaced,
                                .start = HashCompression::Start::scratch,
                                .hash = options.hash,
                                .seed = options.seed});
}

}  // namespace hashgrad
