// A line of our source, for messages. (std::source_location, which clang 14 lacks.)
#pragma once

#include <string>

namespace hashgrad {

struct Site {
  const char* file;
  int line;
};

/// As a default argument: the line of the call.
constexpr Site here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) { return {file, line}; }

/// "cuda/softmax.cu:41": the last folder and the name say enough.
inline std::string to_string(const Site& site) {
  const std::string path = site.file;
  const size_t name = path.rfind('/');
  const size_t folder = name == 0 || name == path.npos ? path.npos : path.rfind('/', name - 1);
  return (folder == path.npos ? path : path.substr(folder + 1)) + ":" + std::to_string(site.line);
}

}  // namespace hashgrad
