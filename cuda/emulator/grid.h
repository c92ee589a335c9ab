// Runs whole launches.
#pragma once

#include <functional>

#include "cuda/emulator/hooks.h"

namespace hashgrad::emulator {

/// An Error, as the device would give one, for a launch that no device accepts.
void check_shape(const LaunchShape& shape);

/// Runs every block of the launch, over the threads of core/parallel.h. Returns when all have ended; a
/// failure of any is an Error.
void run_grid(const LaunchShape& shape, const std::function<void()>& thread);

}  // namespace hashgrad::emulator
