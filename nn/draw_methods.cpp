#include "nn/draw_methods.h"

#include <map>

#include "core/error.h"

namespace hashgrad {
namespace {

/// Adds eps * U * sign(w) to each value.
void enlarge(Tensor& weights, double eps, Random random) {
  for_float_type(weights.dtype(), "gi3", [&]<class T>() {
    T* w = weights.data<T>();
    for (int64_t i = 0; i < weights.numel(); ++i) {
      const double u = random.uniform(), value = static_cast<double>(w[i]);
      w[i] = static_cast<T>(value + eps * u * ((value > 0) - (value < 0)));
    }
  });
}

/// Zeroes columns of weights [rows, columns] and scales the others.
void drop_columns(Tensor& weights, double rate, Random random) {
  const int64_t columns = weights.size(1);
  std::vector<double> factors;
  for (int64_t j = 0; j < columns; ++j)
    factors.push_back(static_cast<double>(random.uniform()) < rate ? 0 : 1 / (1 - rate));
  for_float_type(weights.dtype(), "dropout", [&]<class T>() {
    T* w = weights.data<T>();
    for (int64_t i = 0; i < weights.numel(); ++i)
      w[i] = static_cast<T>(static_cast<double>(w[i]) * factors[static_cast<size_t>(i % columns)]);
  });
}

std::map<std::string, DrawMethod>& methods() {
  static std::map<std::string, DrawMethod> known{
      {"gi3", {"eps", [](double eps) { return eps >= 0 && eps <= 1e30; }, false, enlarge}},
      {"dropout", {"rate", [](double rate) { return rate > 0 && rate < 1; }, true, drop_columns}}};
  return known;
}

}  // namespace

void add_draw_method(const std::string& name, const DrawMethod& method) {
  check(methods().emplace(name, method).second, "add_draw_method: there is a method '{}'", name);
}

const DrawMethod* draw_method(const std::string& name) {
  const auto found = methods().find(name);
  return found == methods().end() ? nullptr : &found->second;
}

std::vector<std::string> draw_method_names() {
  std::vector<std::string> names;
  for (const auto& [name, method] : methods()) names.push_back(name);
  return names;
}

}  // namespace hashgrad
