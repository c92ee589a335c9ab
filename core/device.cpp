#include "core/device.h"

#include "core/device_memory.h"
#include "core/error.h"

namespace hashgrad {
namespace {

constexpr Device cuda{Device::Kind::cuda}, emu{Device::Kind::emu};

std::string accepted() {
  std::string list = "auto, cpu";
  for (const Device device : {cuda, emu})
    if (is_available(device)) list += ", " + to_string(device);
  return list;
}

}  // namespace

Device parse_device(const std::string& text) {
  if (text == "cpu") return {};
  if (text == "auto") return is_available(cuda) ? cuda : Device{};
  const bool is_cuda = text == "cuda" || text == "cuda:0";
  if (!is_cuda && text != "emu") fail("device: '{}' is unknown (accepted here: {})", text, accepted());
  const Device device = is_cuda ? cuda : emu;
  const std::string obstacle = why_unavailable(device);
  if (!obstacle.empty())
    fail("device: '{}' cannot be used: {} (accepted here: {})", text, obstacle, accepted());
  return device;
}

std::string to_string(Device device) {
  switch (device.kind) {
    case Device::Kind::cpu:
      return "cpu";
    case Device::Kind::cuda:
      return "cuda";
    case Device::Kind::emu:
      break;
  }
  return "emu";
}

}  // namespace hashgrad
