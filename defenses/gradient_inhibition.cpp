#include "defenses/gradient_inhibition.h"

#include <nlohmann/json.hpp>

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/pointwise.h"
#include "compression/layers.h"
#include "nn/model.h"

namespace hashgrad {
namespace {

/// Appends an entry to the JSON list under `defences`.
void record(Model& model, const nlohmann::json& entry) {
  nlohmann::json list = nlohmann::json::array();
  if (const auto it = model.metadata.find("defences"); it != model.metadata.end()) {
    list = nlohmann::json::parse(it->second, nullptr, /*allow_exceptions=*/false);
    check(list.is_array(), "gi1: metadata defences of the model is not a JSON list");
  }
  list.push_back(entry);
  model.metadata["defences"] = list.dump();
}

}  // namespace

void gradient_inhibition_1(Model& model, double eps, const std::string& layers) {
  check(eps >= 0 && eps <= 1e30, "gi1: eps = {}, a number in [0, 1e30] expected", eps);
  const std::vector<size_t> chosen = select_layers(model.spec(), layers, "gi1");
  record(model, {{"method", "gi1"}, {"eps", eps}, {"layers", layers}});
  for (const size_t i : chosen) {
    Tensor& weight = model.parameter(fmt::format("{}.weight", i)).value();
    weight.copy_from(weight + eps * sign(weight));
  }
}

}  // namespace hashgrad
