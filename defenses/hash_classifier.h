// The defensive hash classifier (Liu and Wen, TNNLS 2021; B1, B10): the last two fully connected layers
// become hashed ones with very few bucket values, and the whole network is trained again.
#pragma once

#include <vector>

#include "nn/model.h"

namespace hashgrad {

struct HashClassifier {
  std::vector<double> rates{};  // of the two layers, each in (0, 1]; empty: hash_classifier_rates()
  HashOptions hash{};
  uint64_t seed = 0;  // of the bucket values
};

/// The rates that the paper's search ends at: 1/16 (N M)^-1/2 for the layer of N inputs and M outputs, so
/// that sqrt(N M) / 16 bucket values are left, and 2 / N for the last, 2 for each class; at most 1. Error:
/// the last two layers with weights are not both fully connected.
std::vector<double> hash_classifier_rates(const Model& model);

/// The model with its last two layers hashed and drawn afresh; everything else is copied. It classifies
/// nothing until it is trained. What comes out is an ordinary network with hashed layers: attacks need no
/// stand-in for it. Records {"method":"hash-classifier","rates":[..],"layers":"last:2"} in the list under the
/// metadata key `defences`. Errors: those of hash_classifier_rates() and of compress_hash(); a model that has
/// this defence, or gradient inhibition or logits augmentation, which the layers drawn afresh would lose.
Model hash_classifier(const Model& model, const HashClassifier& options);

}  // namespace hashgrad
