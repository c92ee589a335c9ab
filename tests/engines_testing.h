// Tests of the engines beside the CPU: run each check on every device that this machine has.
#pragma once

#include <vector>

#include "core/device_memory.h"
#include "core/tensor.h"

namespace hashgrad {

/// The emulator if it is in this build, and the GPU if there is one.
inline std::vector<Device> other_devices() {
  std::vector<Device> devices;
  for (const Device device : {Device{Device::Kind::emu}, Device{Device::Kind::cuda}})
    if (is_available(device)) devices.push_back(device);
  return devices;
}

/// The CPU, and these.
inline std::vector<Device> all_devices() {
  std::vector<Device> devices = other_devices();
  devices.insert(devices.begin(), Device{});
  return devices;
}

}  // namespace hashgrad
