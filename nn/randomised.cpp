#include "nn/randomised.h"

#include <algorithm>
#include <cmath>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "core/xxhash.h"
#include "nn/defences.h"
#include "nn/draw_methods.h"

namespace hashgrad {
namespace {

using nlohmann::json;

/// A defence that draws at every answer, as the metadata describe it.
struct RandomDefence {
  std::string name;
  const DrawMethod& method;
  double strength;
  std::vector<size_t> layers;
};

bool draws_at_every_answer(const json& entry) {
  return entry.is_object() && entry.contains("draws") && entry["draws"] == "forward";
}

void check_layer(const Model& model, const RandomDefence& defence, size_t i, const std::string& name) {
  const auto& layers = model.spec().layers;
  check(i < layers.size() && layers[i].has_weight(),
        "{}: metadata defences names layer {}, which has no weights", name, i);
  check(!defence.method.dense_only || (layers[i].kind == LayerSpec::Kind::fc && !layers[i].hashed()),
        "{}: metadata defences has {} at layer {} ({}); a dense fully connected one is expected", name,
        defence.name, i, to_string(layers[i]));
}

RandomDefence read(const Model& model, const json& entry, const std::string& name) {
  const bool named = entry.contains("method") && entry["method"].is_string();
  const std::string word = named ? entry["method"].get<std::string>() : "";
  const DrawMethod* method = draw_method(word);
  check(method != nullptr, "{}: metadata defences says that '{}' draws at every answer, which only {} do",
        name, word, fmt::join(draw_method_names(), ", "));
  RandomDefence defence{word, *method, NAN, {}};
  if (entry.contains(method->strength) && entry[method->strength].is_number())
    defence.strength = entry[method->strength].get<double>();
  check(method->in_range(defence.strength), "{}: metadata defences gives {} no {} in its range", name, word,
        method->strength);
  check(entry.contains("at") && entry["at"].is_array() && !entry["at"].empty(),
        "{}: metadata defences names no layers \"at\" which {} works", name, word);
  for (const json& number : entry["at"]) {
    check(number.is_number_unsigned(), "{}: metadata defences: {} is not the number of a layer", name,
          number.dump());
    defence.layers.push_back(number.get<size_t>());
    check_layer(model, defence, defence.layers.back(), name);
  }
  return defence;
}

/// Methods draw apart on one layer.
uint32_t sequence_of(const std::string& method, size_t layer) {
  const uint32_t number = static_cast<uint32_t>(layer);
  return method == "gi3" ? 2 * number : method == "dropout" ? 2 * number + 1 : xxhash32(method, number);
}

/// Gives `model` weights of its own in the layers of this defence, changed by the draw.
void apply(const RandomDefence& defence, const Draw& draw, Model& model) {
  for (const size_t layer : defence.layers) {
    Variable& weight = model.parameter(model.parameter_name(layer, "weight"));
    Tensor w = weight.value().to(Device{}).clone();
    defence.method.draw(
        w, defence.strength,
        Random(draw.seed, draw.stream, static_cast<uint64_t>(draw.number), sequence_of(defence.name, layer)));
    weight = Variable::leaf(w.to(model.device()));
  }
}

/// Whether both are the same memory, not only equal numbers.
bool one_tensor(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.device() == b.device() &&
         for_any_type(a.dtype(), [&]<class T>() { return a.data<T>() == b.data<T>(); });
}

}  // namespace

bool randomised(const Model& model) {
  if (!model.metadata.contains("defences")) return false;
  const json list = defences_of(model, "model");
  return std::any_of(list.begin(), list.end(), draws_at_every_answer);
}

bool draws_at(const Model& model, size_t i) {
  for (const json& entry : defences_of(model, "model")) {
    if (!draws_at_every_answer(entry)) continue;
    const std::vector<size_t> layers = read(model, entry, "model").layers;
    if (std::find(layers.begin(), layers.end(), i) != layers.end()) return true;
  }
  return false;
}

Model realisation(const Model& model, const Draw& draw) {
  check(draw.number >= 0 && draw.number < int64_t{1} << 48, "realisation: draw {} is not in [0, 2^48)",
        draw.number);
  Model one = model.alias();
  json list = defences_of(model, "realisation");
  for (json& entry : list) {
    if (!draws_at_every_answer(entry)) continue;
    apply(read(model, entry, "realisation"), draw, one);
    entry["draws"] = "once";
    entry["draw"] = {
        {"seed", draw.seed}, {"stream", static_cast<uint32_t>(draw.stream)}, {"number", draw.number}};
  }
  if (!list.empty()) one.metadata["defences"] = list.dump();
  return one;
}

void check_draws(const Model& model, const std::string& name) {
  for (const json& entry : defences_of(model, name))
    if (draws_at_every_answer(entry)) read(model, entry, name);
}

bool Realisations::of(const Model& model, uint64_t seed) const {
  if (seed != seed_ || model.metadata != model_.metadata || !(model.spec() == model_.spec())) return false;
  const auto mine = model_.state(), theirs = model.state();
  return std::all_of(mine.begin(), mine.end(),
                     [&](const auto& entry) { return one_tensor(entry.second, theirs.at(entry.first)); });
}

std::vector<const Model*> Realisations::first(int64_t count, Stream stream) {
  std::deque<Model>& made = made_[stream];
  while (static_cast<int64_t>(made.size()) < count)
    made.push_back(realisation(model_, {seed_, stream, static_cast<int64_t>(made.size())}));
  std::vector<const Model*> models;
  for (int64_t i = 0; i < count; ++i) models.push_back(&made[static_cast<size_t>(i)]);
  return models;
}

}  // namespace hashgrad
