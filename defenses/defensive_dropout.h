// Defensive dropout (Wang et al., ICCAD 2018): dropout that stays active when the network answers.
#pragma once

#include <string>

namespace hashgrad {

class Model;

/// Drops each input of the chosen layers with probability `rate` at every answer and divides the others by
/// 1 - rate: the model is randomised (nn/randomised.h) from here on. `layers` is "last:k" or "all" of the
/// fully connected and convolution layers. Records method, rate and layers in the list under the metadata key
/// `defences`. Errors: a rate outside (0, 1); a chosen layer that is a convolution, or hashed, because a draw
/// zeroes columns of plain weights (materialise a hashed model first); a model that has this defence already.
void defensive_dropout(Model& model, double rate, const std::string& layers = "last:1");

}  // namespace hashgrad
