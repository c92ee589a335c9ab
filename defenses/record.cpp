#include "defenses/record.h"

#include "autograd/ops/arithmetic.h"
#include "nn/randomised.h"

namespace hashgrad {

void record_defence(Model& model, const nlohmann::json& entry) {
  using nlohmann::json;
  const std::string method = entry.at("method").get<std::string>();
  json list = json::array();
  if (const auto it = model.metadata.find("defences"); it != model.metadata.end()) {
    list = json::parse(it->second, nullptr, /*allow_exceptions=*/false);
    check(list.is_array(), "{}: metadata defences of the model is not a JSON list", method);
  }
  for (const json& other : list)
    check(!other.is_object() || !other.contains("method") || other["method"] != method,
          "{}: the model has this defence already; defend the model that it was made from", method);
  list.push_back(entry);
  model.metadata["defences"] = list.dump();
}

void check_strength(double eps, const char* method) {
  check(eps >= 0 && eps <= 1e30, "{}: eps = {}, a number in [0, 1e30] expected", method, eps);
}

void check_weights_may_change(const Model& model, const char* method) {
  check(!randomised(model),
        "{}: changes weights of which another defence draws at every answer; apply it before that one",
        method);
}

void scale_weights(Model& model, const std::vector<size_t>& layers, double factor) {
  for (const size_t i : layers) {
    Tensor& weight = model.parameter(model.parameter_name(i, "weight")).value();
    weight.copy_from(weight * factor);
  }
}

}  // namespace hashgrad
