// Defences that change the image in front of the network: bit depth, median, JPEG, feature distillation.
#pragma once

#include <cstdint>
#include <string>

namespace hashgrad {

class Model;

/// Puts the transform of nn/input_transform.h behind those that the model has, and records it in `defences`,
/// as {"method":"bit-depth","bits":1}. Errors: an unknown method, a value out of its range, images that it
/// does not apply to, a method that the model has already.
///
/// What it does: the gradient is exactly zero where the transform is constant between steps, so an attack
/// that follows it never moves; one that takes the transform for the identity (OracleOptions::stand_ins)
/// does.
void add_input_transform(Model& model, const std::string& method, int64_t value);

}  // namespace hashgrad
