// Logits augmentation (D4): larger weights in the last fully connected layer.
#pragma once

namespace hashgrad {

class Model;

/// W *= 1 + eps in the last fully connected layer (the bucket values of a hashed one), the bias untouched: a
/// softmax of the temperature 1 / (1 + eps), up to the bias. Records
/// {"method":"logits-augmentation","eps":..} in the list under the metadata key `defences`. Errors: eps
/// negative or not finite, no such layer, a model that has this defence already or is randomised
/// (nn/randomised.h). Like gradient inhibition it hides gradients, not images.
void logits_augmentation(Model& model, double eps);

}  // namespace hashgrad
