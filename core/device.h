// Where a tensor lives.
#pragma once

#include <cstdint>
#include <string>

namespace hashgrad {

/// A value that names one device; every op picks its engine by it. `emu` runs the kernels of `cuda` on the
/// CPU, slowly: for tests and for reading kernels with a debugger.
struct Device {
  enum class Kind : uint8_t { cpu, cuda, emu };
  Kind kind = Kind::cpu;
  int index = 0;  ///< always 0: one GPU per process, the first that it sees (see parse_device)

  bool operator==(const Device&) const = default;
};

/// Accepts "cpu", "cuda", "cuda:N" (the GPU of this number, of those that CUDA_VISIBLE_DEVICES shows; 0 is
/// what "cuda" means), "emu", and "auto" (cuda where there is one, else cpu). A process uses one GPU: its
/// number has to be known before anything else is asked of CUDA, and another one later is an Error. Anything
/// else, or a device that is not in this build or not in this machine, is an Error that says so and lists
/// what is accepted here.
Device parse_device(const std::string& text);
std::string to_string(Device device);

}  // namespace hashgrad
