// Ladders: the same small problem solved by kernel after kernel, from the obvious one to the production one,
// each step one idea. Every rung is checked against the CPU engine, then timed beside floors that are
// measured in the same run. docs/kernels/README.md is the place to start reading.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "core/device.h"

namespace hashgrad::bench {

/// What a kernel uses up, and can wait for.
enum class Resource { memory, l2, multiply_add, integer, shared, shared_random, launch };
inline constexpr int resource_count = 7;
const char* name_of(Resource resource);

/// So much of each resource: bytes of memory and of second-level cache; flops in float32; integer
/// instructions of one lane; 4-byte reads of shared memory, from 32 different banks per warp and from random
/// ones; kernels.
struct Amounts {
  double memory = 0, l2 = 0, multiply_add = 0, integer = 0, shared = 0, shared_random = 0, launch = 1;

  std::array<double, resource_count> all() const {
    return {memory, l2, multiply_add, integer, shared, shared_random, launch};
  }
};

/// What one device does per microsecond, in the units of Amounts. All positive.
struct Rates {
  Amounts per_us;
  double launch_us = 0;  // of one empty kernel started on its own; per_us.launch is of kernels in a graph

  /// Microseconds that these amounts take at least, and which of them takes longest.
  std::pair<double, Resource> floor_of(const Amounts& work) const;
};

/// Reads a and b, overwrites y: float32 in the memory of one device, aligned to 256 bytes.
using Program = std::function<void(const float* a, const float* b, float* y)>;

struct Rung {
  std::string idea;
  Program run;              // issues its work on the current stream and returns
  Amounts work{};           // what this way of doing it asks for, by count
  double tolerance = 1e-5;  // largest allowed |y - reference|, relative to the largest |reference|
};

struct Ladder {
  std::string name, formula;
  std::vector<std::pair<std::string, int64_t>> extents;
  int64_t a, b, y;    // elements; a and b are filled with numbers in [-1, 1)
  Amounts work;       // what no program can do without: the floor
  double flops;       // of the formula, for TFLOP/s
  Program reference;  // on the CPU engine
  std::vector<Rung> rungs;
};

enum class Size { tiny, small, full };

const std::vector<std::string>& ladder_names();
/// The ladder of this name for a device with kernels (cuda or emu). An Error when there is none such.
Ladder make_ladder(Device device, const std::string& name, Size size);

/// Measures what the device can do; takes about a second. Only for a GPU.
Rates measure_rates(Device device);

struct RungResult {
  std::string idea;
  double error = 0, tolerance = 0;               // see Rung
  double median_us = 0, p10_us = 0, p90_us = 0;  // 0: not timed
  double floor_us = 0;                           // of its own work
  Resource binds = Resource::launch;             // what its own work would wait for
};

/// Runs every rung and compares it; a rung that is wrong, or writes behind its result, is an Error that names
/// it. Then times each `rounds` times (0: not), as medians over replays of a graph. For rounds > 0 `rates`
/// must be given.
std::vector<RungResult> climb(Device device, const Ladder& ladder, int rounds, const Rates* rates);

}  // namespace hashgrad::bench
