// The dense twin of a compressed network.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "nn/model.h"

namespace hashgrad {

/// A dense model with plain weights that computes the same function as this one, input transforms included,
/// on the same device: nothing in it is hashed, pruned, shared or in fixed point but the activations, whose
/// rounding is part of the function. Defences that draw at every answer are kept; an Error where gi3 does on
/// a hashed layer, because it draws for each bucket there and would for each weight in the twin.
Model materialise(const Model& model);

/// How many virtual weights each bucket of a hashed matrix has, [K].
std::vector<int64_t> occupancy(const cpu::HashedMatrix& v);

/// Copies the parameters and buffers of all layers except the numbers in `layers` between two models that
/// have these layers alike.
void copy_other_layers(const Model& from, const Model& to, const std::vector<size_t>& layers);

}  // namespace hashgrad
