#include "core/device_memory.h"

#include <array>

#include "core/cpu_memory.h"
#include "core/error.h"

namespace hashgrad {
namespace {

using Registry = std::array<DeviceMemory*, 3>;

/// Never destroyed, as tensors in static objects may outlive main.
Registry& registry() {
  static Registry& r = *new Registry{new CpuMemory, nullptr, nullptr};
  return r;
}

}  // namespace

void register_memory(Device::Kind kind, DeviceMemory& memory) {
  registry()[static_cast<size_t>(kind)] = &memory;
}

DeviceMemory& memory_of(Device device) {
  DeviceMemory* memory = registry()[static_cast<size_t>(device.kind)];
  if (memory == nullptr) fail("device: '{}' is not in this build", to_string(device));
  return *memory;
}

std::string why_unavailable(Device device) {
  DeviceMemory* memory = registry()[static_cast<size_t>(device.kind)];
  return memory == nullptr ? "it is not in this build" : memory->obstacle();
}

}  // namespace hashgrad
