// What a defence writes down about itself: the list under the metadata key `defences`.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

namespace hashgrad {

class Model;

/// Appends `entry`, an object whose "method" is the defence's name, to the list. Errors: the list is not a
/// JSON list, or has this method already.
void record_defence(Model& model, const nlohmann::json& entry);

/// Throws, opening with `method`, if the model has a defence that is a change of its weights: a defence that
/// draws some of them afresh would lose it, and the record would still claim it.
void check_no_weights_to_lose(const Model& model, const char* method);

/// Throws, opening with `method`, unless eps is a number in [0, 1e30].
void check_strength(double eps, const char* method);

/// Throws, opening with `method`, if the model is randomised: what is drawn is drawn of its final weights, so
/// a defence that changes them must come first.
void check_weights_may_change(const Model& model, const char* method);

/// w *= factor on the weights (bucket values, of hashed layers) of these layers.
void scale_weights(Model& model, const std::vector<size_t>& layers, double factor);

}  // namespace hashgrad
