#include "core/device.h"

#include <cstdlib>
#include <sstream>

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

/// The driver's name of GPU `index` of those that this process may see.
std::string visible_gpu(int index) {
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  if (visible == nullptr) return std::to_string(index);
  std::istringstream list(visible);
  std::string name;
  for (int i = 0; i <= index; ++i)
    check(static_cast<bool>(std::getline(list, name, ',')),
          "device: 'cuda:{}' cannot be used: CUDA_VISIBLE_DEVICES={} shows {}", index, visible, i);
  return name;
}

/// From now on GPU `index` is the only one that this process sees, and so the first: CUDA looks at the
/// variable when it is first asked for anything.
void choose_gpu(int index) {
  static int chosen = -1;
  if (index == chosen) return;
  check(chosen < 0, "device: 'cuda:{}' cannot be used: this process uses cuda:{}, and no second one", index,
        chosen);
  if (index > 0) setenv("CUDA_VISIBLE_DEVICES", visible_gpu(index).c_str(), /*replace=*/1);
  chosen = index;
}

/// N of "cuda:N"; 0 of "cuda"; -1 of anything else.
int gpu_index(const std::string& text) {
  if (text == "cuda") return 0;
  const bool digits =
      text.size() > 5 && text.size() < 9 && text.find_first_not_of("0123456789", 5) == std::string::npos;
  return text.starts_with("cuda:") && digits ? std::stoi(text.substr(5)) : -1;
}

}  // namespace

Device parse_device(const std::string& text) {
  if (text == "cpu") return {};
  const int gpu = text == "auto" ? 0 : gpu_index(text);
  if (gpu < 0 && text != "emu") fail("device: '{}' is unknown (accepted here: {})", text, accepted());
  if (gpu >= 0) choose_gpu(gpu);
  if (text == "auto") return is_available(cuda) ? cuda : Device{};
  const Device device = gpu >= 0 ? cuda : emu;
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
