// The record of a model's defences, as its metadata hold it.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "nn/model.h"

namespace hashgrad {

/// The list under the metadata key `defences`, empty without it. An Error, which opens with `name`, if that
/// is no JSON list; what its entries may be says check_known_defences (nn/model_file.h).
nlohmann::json defences_of(const Model& model, const std::string& name);

}  // namespace hashgrad
