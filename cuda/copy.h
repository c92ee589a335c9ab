// Copies, conversions and fills of strided memory on the GPU engines: what core/device_memory.h asks for.
#pragma once

#include "core/device_memory.h"
#include "cuda/engines.h"

// clang-format off
namespace hashgrad {
HASHGRAD_ENGINES(

/// Every element of a tensor of this shape, converted as by static_cast, from one layout to the other.
void copy(const Shape& shape, const Layout& to, const Layout& from);
void fill(const Shape& shape, const Layout& to, double value);

)  // HASHGRAD_ENGINES
}  // namespace hashgrad
// clang-format on
