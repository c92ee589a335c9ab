// A place for the files of one test.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <unistd.h>

#include "core/error.h"

namespace hashgrad::testing {

/// A folder that goes away with its content; in memory where the system has such a place, since some tests
/// write thousands of files.
class TempDir {
 public:
  TempDir() {
    const std::filesystem::path memory = "/dev/shm";
    const bool fast = access(memory.c_str(), W_OK) == 0;
    std::string name =
        ((fast ? memory : std::filesystem::temp_directory_path()) / "hashgrad-XXXXXX").string();
    if (!mkdtemp(name.data())) fail("{}: no temporary folder", name);
    path_ = name;
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  /// The full path of a name in this folder.
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  /// Writes a file, making the folders on its way, and returns its full path.
  std::string put(const std::string& name, const std::string& content) const {
    const std::filesystem::path path = path_ / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << content;
    return path.string();
  }
  std::string str() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

}  // namespace hashgrad::testing
