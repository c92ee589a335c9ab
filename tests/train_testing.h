// What tests of training share.
#pragma once

#include <string>

#include "core/file.h"
#include "nn/model.h"
#include "tests/temp_dir.h"

namespace hashgrad::testing {

inline bool same_bits(const Model& a, const Model& b) {
  const auto other = b.state();
  for (const auto& [name, tensor] : a.state())
    if (!identical(tensor, other.at(name))) return false;
  return true;
}

/// Log without its last column, the wall-clock seconds.
inline std::string timeless_log(const std::string& path) {
  std::string out, line;
  for (char c : read_file(path)) {
    if (c != '\n') {
      line += c;
    } else {
      out += line.substr(0, line.rfind(',')) + "\n";
      line.clear();
    }
  }
  return out;
}

}  // namespace hashgrad::testing
