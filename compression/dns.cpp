#include "compression/dns.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <utility>
#include <vector>

#include "autograd/ops/arithmetic.h"
#include "compression/layers.h"
#include "core/random.h"

namespace hashgrad {
namespace {

using Rule = NetworkSurgery::Rule;

constexpr double alpha = 0.9, beta = 1.1;             // of the threshold
constexpr uint64_t change_draws = uint64_t{1} << 40;  // key of the draws that say when masks change

/// Of |w| over one layer.
struct Statistics {
  double mean = 0, deviation = 0;
};

/// One layer's full weights and mask, on the CPU in float64.
struct Layer {
  std::string name;
  std::vector<double> weights, mask;
  Statistics statistics{};
};

Statistics statistics_of(const std::vector<double>& weights) {
  const auto n = static_cast<double>(weights.size());
  double mean = 0, variance = 0;
  for (const double w : weights) mean += std::abs(w) / n;
  for (const double w : weights) variance += (std::abs(w) - mean) * (std::abs(w) - mean) / n;
  return {mean, std::sqrt(variance)};
}

std::vector<double> doubles(const Tensor& tensor) {
  return tensor.to(Device{}).to(DType::float64).to_vector<double>();
}

Layer layer_of(const MaskedWeights& masked) {
  Layer layer{masked.name, doubles(masked.weights), doubles(masked.mask)};
  for (const double w : layer.weights)
    check(std::isfinite(w), "compress dns: '{}' has become {}; a smaller learning rate may help", layer.name,
          w);
  return layer;
}

/// The c up to which each weight is kept: its |w| is alpha t, or beta t where it is pruned now. Minus
/// infinity for zero, which no c keeps.
std::vector<double> limits(const Layer& layer) {
  const auto& [mean, deviation] = layer.statistics;
  check(deviation > 1e-12 * mean, "compress dns: all {} weights of '{}' have the magnitude {}",
        layer.weights.size(), layer.name, mean);
  std::vector<double> all;
  for (size_t i = 0; i < layer.weights.size(); ++i) {
    const double magnitude = std::abs(layer.weights[i]);
    const double threshold = magnitude / (layer.mask[i] > 0 ? alpha : beta);
    all.push_back(magnitude > 0 ? (threshold - mean) / deviation : -std::numeric_limits<double>::infinity());
  }
  return all;
}

/// The c that keeps round(density * n) of these limits, those above it.
double c_rate_of(std::vector<double> all, double density) {
  const auto n = static_cast<double>(all.size());
  const auto wanted = static_cast<size_t>(std::llround(density * n));
  if (wanted == all.size()) all.push_back(-std::numeric_limits<double>::infinity());
  const auto at = all.begin() + static_cast<std::ptrdiff_t>(wanted);
  std::nth_element(all.begin(), at, all.end(), std::greater<>());
  const auto kept = std::count_if(all.begin(), at, [&](double limit) { return limit > *at; });
  check(static_cast<double>(wanted) - static_cast<double>(kept) <= 0.001 * n,
        "compress dns: density {} asks for {} of {} weights; because some are zero or equal, it gets {}",
        density, wanted, n, kept);
  return *at;
}

/// Brings one layer's mask up to date for this c.
void cut(Layer& layer, double c_rate) {
  const std::vector<double> up_to = limits(layer);
  for (size_t i = 0; i < up_to.size(); ++i) layer.mask[i] = up_to[i] > c_rate ? 1 : 0;
  check(std::count(layer.mask.begin(), layer.mask.end(), 1.0) > 0,
        "compress dns: keeps none of the {} weights of '{}'", layer.mask.size(), layer.name);
}

void cut_to_density(std::vector<Layer>& layers, double density, bool together) {
  if (!together) {
    for (Layer& layer : layers) cut(layer, c_rate_of(limits(layer), density));
    return;
  }
  std::vector<double> all;
  for (const Layer& layer : layers) {
    const std::vector<double> own = limits(layer);
    all.insert(all.end(), own.begin(), own.end());
  }
  const double c_rate = c_rate_of(std::move(all), density);
  for (Layer& layer : layers) cut(layer, c_rate);
}

void operate(std::vector<Layer>& layers, const NetworkSurgery& options) {
  if (options.rule == Rule::density) return cut_to_density(layers, options.value, options.global);
  for (Layer& layer : layers) cut(layer, options.value);
}

/// Whether masks change in front of this update.
bool due(const NetworkSurgery& options, const Moment& now, uint64_t seed) {
  const int64_t stop = options.stop < 0 ? now.steps * 3 / 4 : options.stop;
  if (now.step == 0) return true;
  if (now.step >= stop) return false;
  if (options.by_epoch) return now.step % now.steps_per_epoch == 0;
  const double probability = std::pow(1 + options.gamma * static_cast<double>(now.step), -options.power);
  Random draw(seed, Stream::quantize, change_draws, static_cast<uint32_t>(now.step));
  return draw.uniform_double() < probability;
}

/// What a training asks in front of every update. `start` are the statistics before it, layer by layer.
std::function<bool(const Moment&, std::vector<MaskedWeights>&)> reviser(const NetworkSurgery& options,
                                                                        std::vector<Statistics> start,
                                                                        uint64_t seed) {
  return [=](const Moment& now, std::vector<MaskedWeights>& all) {
    if (!due(options, now, seed)) return false;
    std::vector<Layer> layers;
    for (size_t i = 0; i < all.size(); ++i) {
      layers.push_back(layer_of(all[i]));
      layers[i].statistics = options.statistics_once ? start[i] : statistics_of(layers[i].weights);
    }
    operate(layers, options);
    for (size_t i = 0; i < all.size(); ++i)
      all[i].mask.copy_from(Tensor::of(layers[i].mask, all[i].mask.shape()));
    return true;
  };
}

void check_options(const NetworkSurgery& o) {
  if (o.rule == Rule::density)
    check(o.value > 0 && o.value <= 1, "compress dns: density {}, a number in (0,1] expected", o.value);
  else
    check(std::isfinite(o.value), "compress dns: c_rate {}, a number expected", o.value);
  check(!o.global || o.rule == Rule::density,
        "compress dns: a c_rate is one number for each layer as for all together, global means nothing");
  for (const auto& [value, name] : {std::pair{o.gamma, "gamma"}, {o.power, "power"}})
    check(value >= 0 && std::isfinite(value), "compress dns: {} {}, a number from 0 expected", name, value);
}

/// The parameters to operate on, which must be plain.
std::vector<std::string> patients(const Model& model, const NetworkSurgery& options) {
  check(model.device() == Device{}, "compress dns: the model is on {}; move it to the CPU",
        to_string(model.device()));
  std::vector<std::string> names;
  for (const size_t i : select_layers(model.spec(), options.layers, "compress dns")) {
    names.push_back(model.parameter_name(i, "weight"));
    check(model.coding.of(names.back()).plain(),
          "compress dns: layer {} ({}) is pruned, shared or in fixed point already", i,
          to_string(model.spec().layers[i]));
  }
  return names;
}

std::string text_of(const NetworkSurgery& o) {
  const std::string when = o.by_epoch ? "epochs" : fmt::format("(1 + {} i)^-{}", o.gamma, o.power);
  return fmt::format("{} {}, {}, layers {}, gradients {}, statistics {}, masks change by {}, {}",
                     o.rule == Rule::density ? "density" : "c_rate", o.value, o.global ? "together" : "each",
                     o.layers, o.pruned_learn ? "all" : "kept", o.statistics_once ? "once" : "update", when,
                     o.stop < 0 ? "the first 3/4" : fmt::format("the first {}", o.stop));
}

/// Whether two runs are the same is told by this text: statistics are part of it.
std::string method_of(const NetworkSurgery& options, const std::vector<Statistics>& start) {
  std::string text = "dns: " + text_of(options);
  if (options.statistics_once)
    for (const auto& [mean, deviation] : start) text += fmt::format(", {} {}", mean, deviation);
  return text;
}

std::vector<Statistics> statistics_of(Model& model, const std::vector<std::string>& names) {
  std::vector<Statistics> all;
  for (const std::string& name : names) all.push_back(statistics_of(doubles(model.parameter(name).value())));
  return all;
}

}  // namespace

Model compress_surgically(const Model& model, const NetworkSurgery& options) {
  check_options(options);
  const std::vector<std::string> names = patients(model, options);
  Model result = model.clone();
  std::vector<MaskedWeights> all;  // the weights are those of the result
  for (const std::string& name : names) {
    const Tensor weights = result.parameter(name).value();
    all.push_back({name, weights, Tensor::full(weights.shape(), 1, weights.dtype())});
    result.coding.parameters[name].pruned = true;
  }
  reviser(options, statistics_of(result, names), 0)({}, all);
  for (MaskedWeights& masked : all) masked.weights.copy_from(masked.weights * masked.mask + 0.0);  // no -0
  result.metadata["compress.dns"] = text_of(options);
  return result;
}

void prepare_surgery(Model& model, const NetworkSurgery& options, TrainOptions& training) {
  const Model rehearsal = compress_surgically(model, options);  // what is wrong shows before the training
  const std::vector<std::string> names = patients(model, options);
  const std::vector<Statistics> start = statistics_of(model, names);
  training.surgery = {names, options.pruned_learn, reviser(options, start, training.seed)};
  training.method = method_of(options, start);
  model.coding = rehearsal.coding;
  model.metadata = rehearsal.metadata;
}

}  // namespace hashgrad
