// Choosing the layers that a compression method or a defence changes.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "nn/spec.h"

namespace hashgrad {

/// k of "last:k"; nothing where that is not what `selection` is, with k >= 1.
std::optional<size_t> parse_last(const std::string& selection);

/// Numbers, in order, of the fully connected and convolution layers (hashed or not) that `selection` names:
/// "all", or "last:k" for the k nearest to the output. Anything else, and a k beyond their number, is an
/// Error that opens with `what`.
std::vector<size_t> select_layers(const Spec& spec, const std::string& selection, const std::string& what);

}  // namespace hashgrad
