#include "experiments/zhao2019/distributions.h"

#include <algorithm>

#include "compression/fixed_point.h"
#include "compression/layers.h"

namespace hashgrad::zhao2019 {
namespace {

void append(std::vector<double>& values, const Tensor& more) {
  const std::vector<double> numbers = more.to(DType::float64).to_vector<double>();
  values.insert(values.end(), numbers.begin(), numbers.end());
}

template <class Test>
double share_where(const std::vector<double>& values, const Test& test) {
  check(!values.empty(), "zhao2019: no numbers to take a share of");
  return static_cast<double>(std::count_if(values.begin(), values.end(), test)) /
         static_cast<double>(values.size());
}

/// Ascending; the forward pass of a model in fixed point rounds behind them.
std::vector<size_t> rounded_layers(const Spec& spec) {
  Model model(spec, {.init = Init::zeros});
  declare_fixed_point(model, {});
  std::vector<size_t> layers;
  for (const auto& [layer, format] : model.coding.activations) layers.push_back(layer);
  return layers;
}

}  // namespace

std::vector<double> points_within(double reach) {
  constexpr int64_t half = points_of_distributions / 2;
  std::vector<double> points;
  for (int64_t i = -half; i <= half; ++i)
    points.push_back(reach * static_cast<double>(i) / static_cast<double>(half));
  return points;
}

std::vector<double> cumulative_shares(const std::vector<double>& values, const std::vector<double>& points) {
  check(!values.empty(), "zhao2019: no numbers to take a share of");
  std::vector<int64_t> counts(points.size() + 1);  // by the first point that is not below; last: by none
  for (const double value : values)
    ++counts[static_cast<size_t>(std::lower_bound(points.begin(), points.end(), value) - points.begin())];
  std::vector<double> shares;
  int64_t sum = 0;
  for (size_t i = 0; i < points.size(); ++i) {
    sum += counts[i];
    shares.push_back(static_cast<double>(sum) / static_cast<double>(values.size()));
  }
  return shares;
}

double share_at_ends(const std::vector<double>& values, const FixedPointFormat& format) {
  const double lowest = static_cast<double>(format.lowest_code()) * format.step(),
               highest = static_cast<double>(format.highest_code(DType::float32)) * format.step();
  return share_where(values, [&](double value) { return value <= lowest || value >= highest; });
}

study::Json distribution(const std::vector<double>& values, double reach,
                         const std::optional<FixedPointFormat>& format) {
  study::Json result{{"cumulative", cumulative_shares(values, points_within(reach))},
                     {"up_to_zero", share_where(values, [](double value) { return value <= 0; })},
                     {"zero", share_where(values, [](double value) { return value == 0; })}};
  if (format) result["at_ends"] = share_at_ends(values, *format);
  return result;
}

std::vector<double> weights_of(const Model& model) {
  const std::map<std::string, Tensor> state = model.state();
  std::vector<double> values;
  for (const size_t i : select_layers(model.spec(), "all", "zhao2019"))
    append(values, state.at(model.parameter_name(i, "weight")));
  return values;
}

std::vector<double> activations_of(const Model& model, const Tensor& images) {
  std::vector<double> values;
  Tensor x = images;
  size_t begin = 0;
  for (const size_t layer : rounded_layers(model.spec())) {
    x = model.forward(x, {}, begin, layer + 1);
    append(values, x);
    begin = layer + 1;
  }
  return values;
}

}  // namespace hashgrad::zhao2019
