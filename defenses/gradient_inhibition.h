// Gradient inhibition (A-E12; GI1 of B-E7): enlarge every weight of the last layers after training.
#pragma once

#include <string>

namespace hashgrad {

class Model;

/// w += eps * sign(w), sign(0) = 0, on the weights (not the biases) of the chosen layers: "last:k" of the
/// fully connected and convolution layers, or "all"; on a hashed layer, on its bucket values. Records
/// {"method":"gi1","eps":..,"layers":..} in the list under the metadata key `defences`. Error when eps is
/// negative or not finite, or the model has fewer than k such layers.
///
/// What it does: logits grow, softmax saturates, and the float32 gradient of the cross-entropy becomes
/// exactly zero. Measure it with the loss ce-exact as well (docs/attacks.md).
void gradient_inhibition_1(Model& model, double eps, const std::string& layers = "last:1");

}  // namespace hashgrad
