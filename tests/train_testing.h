// What tests of training share.
#pragma once

#include <filesystem>
#include <string>

#include "core/file.h"
#include "nn/model.h"

namespace hashgrad::testing {

/// A folder that is gone at the end of the test.
struct Folder {
  std::filesystem::path path = std::filesystem::temp_directory_path() / "hashgrad_train_test";
  Folder() {
    std::filesystem::remove_all(path);
    std::filesystem::create_directory(path);
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::string operator/(const char* name) const { return (path / name).string(); }
};

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
