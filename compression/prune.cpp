#include "compression/prune.h"

#include <algorithm>
#include <cmath>
#include <fmt/ranges.h>
#include <numeric>

#include "compression/layers.h"

namespace hashgrad {
namespace {

/// The weights that are pruned together, by parameter name.
using Group = std::vector<std::string>;

std::string weight_of(const Model& model, size_t layer) { return model.parameter_name(layer, "weight"); }

/// |w| of all weights of a group, parameter by parameter.
std::vector<double> magnitudes(Model& model, const Group& group) {
  std::vector<double> all;
  for (const std::string& name : group)
    for (const double w : model.parameter(name).value().to(DType::float64).to_vector<double>())
      all.push_back(std::abs(w));
  return all;
}

double percentile_of_nonzeros(std::vector<double> magnitude, double percent) {
  std::erase(magnitude, 0);
  return magnitude.empty() ? 0 : percentile(std::move(magnitude), percent);
}

std::vector<bool> at_least(const std::vector<double>& magnitude, double threshold) {
  std::vector<bool> keep;
  for (const double m : magnitude) keep.push_back(m >= threshold && m > 0);
  return keep;
}

std::vector<bool> largest(const std::vector<double>& magnitude, double density, const std::string& name) {
  const auto wanted = std::llround(density * static_cast<double>(magnitude.size()));
  const auto nonzero = std::ssize(magnitude) - std::count(magnitude.begin(), magnitude.end(), 0.0);
  check(wanted <= nonzero,
        "compress prune: density {} keeps {} weights of '{}', which has {} that are not zero", density,
        wanted, name, nonzero);
  std::vector<size_t> order(magnitude.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::nth_element(order.begin(), order.begin() + wanted, order.end(), [&](size_t a, size_t b) {
    return magnitude[a] != magnitude[b] ? magnitude[a] > magnitude[b] : a < b;
  });
  std::vector<bool> keep(magnitude.size());
  for (auto at = order.begin(); at != order.begin() + wanted; ++at) keep[*at] = true;
  return keep;
}

std::vector<bool> chosen(const std::vector<double>& magnitude, const Pruning& options,
                         const std::string& name) {
  switch (options.rule) {
    case Pruning::Rule::threshold:
      return at_least(magnitude, options.value);
    case Pruning::Rule::percent:
      return at_least(magnitude, percentile_of_nonzeros(magnitude, options.value));
    case Pruning::Rule::density:
      break;
  }
  return largest(magnitude, options.value, name);
}

/// Zeroes what is not kept of one parameter; keep[offset] is its first weight.
void zero_others(Tensor weight, const std::vector<bool>& keep, size_t offset, const std::string& name) {
  int64_t kept = 0;
  for_float_type(weight.dtype(), "compress prune", [&]<class T>() {
    T* w = weight.data<T>();
    for (size_t i = 0; i < static_cast<size_t>(weight.numel()); ++i) {
      if (!keep[offset + i]) w[i] = 0;
      kept += keep[offset + i];
    }
  });
  check(kept > 0, "compress prune: keeps none of the {} weights of '{}'", weight.numel(), name);
}

void prune(Model& model, const Group& group, const Pruning& options) {
  const std::vector<bool> keep =
      chosen(magnitudes(model, group), options, fmt::format("{}", fmt::join(group, ", ")));
  size_t offset = 0;
  for (const std::string& name : group) {
    const Tensor& weight = model.parameter(name).value();
    zero_others(weight, keep, offset, name);
    model.coding.parameters[name].pruned = true;
    offset += static_cast<size_t>(weight.numel());
  }
}

void check_value(const Pruning& options) {
  const double value = options.value;
  check(!options.global || options.rule != Pruning::Rule::threshold,
        "compress prune: a threshold is one number for each layer as for all together, global means nothing");
  switch (options.rule) {
    case Pruning::Rule::threshold:
      check(value >= 0 && std::isfinite(value), "compress prune: threshold {}, a number from 0 expected",
            value);
      break;
    case Pruning::Rule::percent:
      check(value > 0 && value < 100, "compress prune: percent {}, a number in (0,100) expected", value);
      break;
    case Pruning::Rule::density:
      check(value > 0 && value <= 1, "compress prune: density {}, a number in (0,1] expected", value);
      break;
  }
}

/// The chosen layers; an Error if the model is not on the CPU or one of them is pruned already.
std::vector<size_t> prunable_layers(const Model& model, const std::string& layers, const std::string& what) {
  check(model.device() == Device{}, "{}: the model is on {}; move it to the CPU", what,
        to_string(model.device()));
  const std::vector<size_t> all = select_layers(model.spec(), layers, what);
  for (const size_t i : all)
    check(!model.coding.of(weight_of(model, i)).pruned, "{}: layer {} ({}) is pruned already", what, i,
          to_string(model.spec().layers[i]));
  return all;
}

const char* name_of(Pruning::Rule rule) {
  return rule == Pruning::Rule::threshold ? "threshold"
         : rule == Pruning::Rule::percent ? "percent"
                                          : "density";
}

}  // namespace

double percentile(std::vector<double> values, double percent) {
  const double rank = percent / 100 * static_cast<double>(values.size() - 1);
  const auto low = values.begin() + static_cast<std::ptrdiff_t>(rank);
  std::nth_element(values.begin(), low, values.end());
  if (low + 1 == values.end()) return *low;
  const double next = *std::min_element(low + 1, values.end());
  return *low + (rank - std::floor(rank)) * (next - *low);
}

Model compress_prune(const Model& model, const Pruning& options) {
  check_value(options);
  const std::vector<size_t> layers = prunable_layers(model, options.layers, "compress prune");
  Model result = model.clone();
  std::vector<Group> groups;
  for (const size_t i : layers) {
    if (groups.empty() || !options.global) groups.emplace_back();
    groups.back().push_back(weight_of(model, i));
  }
  for (const Group& group : groups) prune(result, group, options);
  result.metadata["compress.prune"] =
      fmt::format("{} {}, layers {}, {}", name_of(options.rule), options.value, options.layers,
                  options.global ? "together" : "each");
  return result;
}

Model compress_iterative_prune(const Model& model, const IterativePruning& options,
                               const std::function<void(Model&, int64_t round)>& retrain) {
  check(options.rounds >= 1, "compress iterative-prune: {} rounds, at least 1 expected", options.rounds);
  for (const double percent : {options.conv_percent, options.fc_percent})
    check(percent >= 0 && percent < 100, "compress iterative-prune: percent {}, a number in [0,100) expected",
          percent);
  const std::vector<size_t> layers = prunable_layers(model, options.layers, "compress iterative-prune");
  Model result = model.clone();
  for (int64_t round = 1; round <= options.rounds; ++round) {
    for (const size_t i : layers) {
      const bool conv = model.spec().layers[i].kind == LayerSpec::Kind::conv;
      prune(result, {weight_of(model, i)},
            {.rule = Pruning::Rule::percent, .value = conv ? options.conv_percent : options.fc_percent});
    }
    retrain(result, round);
  }
  result.metadata["compress.prune"] =
      fmt::format("{} rounds of {} % of conv, {} % of fc, layers {}", options.rounds, options.conv_percent,
                  options.fc_percent, options.layers);
  return result;
}

}  // namespace hashgrad
