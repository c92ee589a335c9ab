#include "nn/defences.h"

#include <nlohmann/json.hpp>

#include "core/json.h"

namespace hashgrad {

nlohmann::json defences_of(const std::map<std::string, std::string>& metadata, const std::string& name) {
  const auto found = metadata.find("defences");
  if (found == metadata.end()) return nlohmann::json::array();
  nlohmann::json list = parse_json(found->second, name + ": metadata defences");
  check(list.is_array(), "{}: metadata defences is not a JSON list", name);
  return list;
}

nlohmann::json defences_of(const Model& model, const std::string& name) {
  return defences_of(model.metadata, name);
}

}  // namespace hashgrad
