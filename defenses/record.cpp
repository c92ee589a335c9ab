#include "defenses/record.h"

#include <algorithm>

#include "autograd/ops/arithmetic.h"
#include "nn/defences.h"
#include "nn/randomised.h"

namespace hashgrad {

namespace {

using nlohmann::json;

bool holds(const json& list, const std::string& method) {
  return std::any_of(list.begin(), list.end(), [&](const json& other) {
    return other.is_object() && other.contains("method") && other["method"] == method;
  });
}

}  // namespace

void record_defence(Model& model, const nlohmann::json& entry) {
  const std::string method = entry.at("method").get<std::string>();
  json list = defences_of(model, method);
  check(!holds(list, method),
        "{}: the model has this defence already; defend the model that it was made from", method);
  list.push_back(entry);
  model.metadata["defences"] = list.dump();
}

void check_no_weights_to_lose(const Model& model, const char* method) {
  const json list = defences_of(model, method);
  for (const char* lost : {"gi1", "gi2", "gi3", "logits-augmentation"})
    check(!holds(list, lost),
          "{}: the model has {} in weights that would be drawn afresh; put that on the result, or defend the "
          "model that it was made from",
          method, lost);
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
