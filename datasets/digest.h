// Telling data apart that have one name.
#pragma once

#include <string>

#include "datasets/dataset.h"

namespace hashgrad {

/// Of a tensor on the CPU. To tell apart several, each one's digest is the `seed` of the next.
uint32_t digest_of(const Tensor& tensor, uint32_t seed);

/// Eight hexadecimal digits that differ for other images or labels, even of the same name and number:
/// "5f0e9a31". Takes a fraction of the time of reading them.
std::string digest_of(const Dataset& data);

}  // namespace hashgrad
