// The record of a model's defences, as its metadata hold it.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "nn/model.h"

namespace hashgrad {

/// The list under the key `defences` of a model's metadata, empty without it. An Error, which opens with
/// `name`, if that is no JSON list; what its entries may be says check_known_defences (nn/model_file.h).
nlohmann::json defences_of(const std::map<std::string, std::string>& metadata, const std::string& name);
nlohmann::json defences_of(const Model& model, const std::string& name);

}  // namespace hashgrad
