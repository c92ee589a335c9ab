#include "nn/defences.h"

#include <nlohmann/json.hpp>

namespace hashgrad {

nlohmann::json defences_of(const Model& model, const std::string& name) {
  const auto found = model.metadata.find("defences");
  if (found == model.metadata.end()) return nlohmann::json::array();
  nlohmann::json list = nlohmann::json::parse(found->second, nullptr, /*allow_exceptions=*/false);
  check(list.is_array(), "{}: metadata defences is not a JSON list", name);
  return list;
}

}  // namespace hashgrad
