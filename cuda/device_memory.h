// Makes the engine known to core/device_memory.h.
#pragma once

#include "cuda/engines.h"

// clang-format off
namespace hashgrad {
HASHGRAD_ENGINES(

/// Registers the memory of this engine, so that tensors can be made there. Returns true.
bool register_engine_memory();

)  // HASHGRAD_ENGINES
}  // namespace hashgrad
// clang-format on
