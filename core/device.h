// Where a tensor lives.
#pragma once

#include <string>

namespace hashgrad {

/// A value that names one device. The CPU engine is the only one compiled in so far; every op picks its arm
/// by this.
struct Device {
  enum class Kind { cpu } kind = Kind::cpu;
  int index = 0;
  bool operator==(const Device&) const = default;
};

/// Accepts "cpu" and "auto" (the best device at hand); anything else is an Error that lists what is accepted.
Device parse_device(const std::string& text);
std::string to_string(Device device);

}  // namespace hashgrad
