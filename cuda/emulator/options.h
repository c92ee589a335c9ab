// How the emulator runs kernels; read from the environment once, changed by tests.
#pragma once

#include <cstdint>

namespace hashgrad::emulator {

/// In which order the threads of a block, and the blocks of a grid, get their turns. A right kernel gives the
/// same bits in each; one that lacks a barrier mostly does not.
enum class Order { ascending, descending, random };

struct Options {
  Order order = Order::ascending;  // HASHGRAD_EMU_ORDER=ascending|descending|random
  uint64_t seed = 1;               // HASHGRAD_EMU_SEED, of the random order
  /// HASHGRAD_EMU_STRICT=1: memory allocated from now on faults when the host touches it outside kernels and
  /// runtime calls, as a device pointer should.
  bool strict = false;
};

/// A wrong value in the environment is an Error at the first call.
Options options();
/// Holds for launches and allocations from now on; call it while no kernel runs.
void set_options(const Options& options);

}  // namespace hashgrad::emulator
