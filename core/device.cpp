#include "core/device.h"

#include "core/error.h"

namespace hashgrad {

Device parse_device(const std::string& text) {
  if (text == "cpu" || text == "auto") return {};
  if (text == "emu" || text.starts_with("cuda"))
    fail("device: '{}' is not in this build (accepted: auto, cpu)", text);
  fail("device: '{}' is unknown (accepted: auto, cpu)", text);
}

std::string to_string(Device) { return "cpu"; }

}  // namespace hashgrad
