// Text that a run can do without: progress, and the line that says how it failed.
#pragma once

#include <cstdio>
#include <fmt/format.h>
#include <string>

namespace hashgrad {

/// fmt::print that never throws for the file's sake: what cannot be written (a full disk, a closed stream) is
/// lost.
template <class... Args>
void try_print(std::FILE* file, fmt::format_string<Args...> format, Args&&... args) {
  const std::string text = fmt::format(format, std::forward<Args>(args)...);
  std::fwrite(text.data(), 1, text.size(), file);
}

}  // namespace hashgrad
