#include "defenses/hash_classifier.h"

#include <algorithm>

#include "compression/hash.h"
#include "compression/layers.h"
#include "compression/rate_search.h"
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
  const int64_t inputs = model.shapes()[layers[0]][0], outputs = model.spec().layers[layers[0]].out;
  const RatePair rates = rate_rule(inputs * outputs, model.shapes()[layers[1]][0]);
  return {std::min(1.0, rates.first), std::min(1.0, rates.second)};
}

Model hash_classifier(const Model& model, const HashClassifier& options) {
  check_no_weights_to_lose(model, method);
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
