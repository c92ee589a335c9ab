#include "nn/randomised.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "nn/defences.h"

namespace hashgrad {
namespace {

using nlohmann::json;

/// A defence that draws at every answer, as the metadata describe it.
struct RandomDefence {
  bool dropout;     // else gi3
  double strength;  // rate of dropout, eps of gi3
  std::vector<size_t> layers;
};

bool draws_at_every_answer(const json& entry) {
  return entry.is_object() && entry.contains("draws") && entry["draws"] == "forward";
}

void check_layer(const Model& model, const RandomDefence& defence, size_t i, const std::string& name) {
  const auto& layers = model.spec().layers;
  check(i < layers.size() && layers[i].has_weight(),
        "{}: metadata defences names layer {}, which has no weights", name, i);
  check(
      !defence.dropout || (layers[i].kind == LayerSpec::Kind::fc && !layers[i].hashed()),
      "{}: metadata defences has dropout in front of layer {} ({}); a dense fully connected one is expected",
      name, i, to_string(layers[i]));
}

RandomDefence read(const Model& model, const json& entry, const std::string& name) {
  const bool named = entry.contains("method") && entry["method"].is_string();
  const std::string method = named ? entry["method"].get<std::string>() : "";
  check(method == "gi3" || method == "dropout",
        "{}: metadata defences says that '{}' draws at every answer, which only gi3 and dropout do", name,
        method);
  RandomDefence defence{method == "dropout", NAN, {}};
  const char* strength = defence.dropout ? "rate" : "eps";
  if (entry.contains(strength) && entry[strength].is_number())
    defence.strength = entry[strength].get<double>();
  check(defence.dropout ? defence.strength > 0 && defence.strength < 1
                        : defence.strength >= 0 && defence.strength <= 1e30,
        "{}: metadata defences gives {} no {} in its range", name, method, strength);
  check(entry.contains("at") && entry["at"].is_array() && !entry["at"].empty(),
        "{}: metadata defences names no layers \"at\" which {} works", name, method);
  for (const json& number : entry["at"]) {
    check(number.is_number_unsigned(), "{}: metadata defences: {} is not the number of a layer", name,
          number.dump());
    defence.layers.push_back(number.get<size_t>());
    check_layer(model, defence, defence.layers.back(), name);
  }
  return defence;
}

/// Adds eps * U * sign(w) to each of the n values.
template <class T>
void enlarge(T* w, int64_t n, double eps, Random random) {
  for (int64_t i = 0; i < n; ++i) {
    const double u = random.uniform(), value = static_cast<double>(w[i]);
    w[i] = static_cast<T>(value + eps * u * ((value > 0) - (value < 0)));
  }
}

/// Zeroes columns of w [rows, columns] and scales the others.
template <class T>
void drop_columns(T* w, int64_t rows, int64_t columns, double rate, Random random) {
  std::vector<double> factors;
  for (int64_t j = 0; j < columns; ++j)
    factors.push_back(static_cast<double>(random.uniform()) < rate ? 0 : 1 / (1 - rate));
  for (int64_t i = 0; i < rows * columns; ++i)
    w[i] = static_cast<T>(static_cast<double>(w[i]) * factors[static_cast<size_t>(i % columns)]);
}

/// Gives `model` weights of its own in the layers of this defence, changed by the draw.
void apply(const RandomDefence& defence, const Draw& draw, Model& model) {
  for (const size_t layer : defence.layers) {
    Variable& weight = model.parameter(model.parameter_name(layer, "weight"));
    Tensor w = weight.value().to(Device{}).clone();
    const Random random(draw.seed, draw.stream, static_cast<uint64_t>(draw.number),
                        static_cast<uint32_t>(2 * layer + size_t{defence.dropout}));
    for_float_type(w.dtype(), "realisation", [&]<class T>() {
      if (defence.dropout)
        drop_columns(w.data<T>(), w.size(0), w.size(1), defence.strength, random);
      else
        enlarge(w.data<T>(), w.numel(), defence.strength, random);
    });
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
