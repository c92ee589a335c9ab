// Gradient inhibition (A-E12; B-E7 to B-E9): enlarge every weight of the last layers after training.
#pragma once

#include <cstdint>
#include <string>

namespace hashgrad {

class Model;

// What it does: logits grow, softmax saturates, and the float32 gradient of the cross-entropy becomes exactly
// zero. Measure it with the loss ce-exact as well (docs/attacks.md). All three change the weights (not the
// biases) of the chosen layers, "last:k" of the fully connected and convolution layers, or "all"; on a hashed
// layer, its bucket values. They record method, eps and layers in the list under the metadata key `defences`.
// Errors: eps negative or not finite, fewer than k such layers, a model that has this defence already;
// weights that change although another defence draws of them at every answer.

/// GI1: w + eps * sign(w), sign(0) = 0.
void gradient_inhibition_1(Model& model, double eps, const std::string& layers = "last:1");

/// GI2: (1 + eps) * w.
void gradient_inhibition_2(Model& model, double eps, const std::string& layers = "last:1");

/// When GI3 draws; the paper does not say.
enum class Redraw {
  once,    ///< now: other weights, an ordinary model
  forward  ///< at every answer: the weights stay, and the model is randomised (nn/randomised.h)
};

/// GI3: w + eps * U * sign(w), U uniform in [0,1), one for each stored value. `seed` is of Redraw::once; the
/// draws of Redraw::forward are chosen by whoever asks the model.
void gradient_inhibition_3(Model& model, double eps, Redraw redraw, const std::string& layers = "last:1",
                           uint64_t seed = 0);

}  // namespace hashgrad
