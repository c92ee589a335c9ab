// The one exception type, and the two ways to throw it.
#pragma once

#include <fmt/format.h>
#include <stdexcept>
#include <string>

namespace hashgrad {

/// Everything that can go wrong at run time is reported as this type. The message is one line that names the
/// op, file or flag, what was found, and what was expected. The library never prints and never aborts.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Throws Error with a formatted message: `fail("conv2d: {} channels, expected {}", c, expected)`.
template <class... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(fmt::format(format, std::forward<Args>(args)...));
}

/// A precondition: throws Error when `ok` is false. Functions open with a paragraph of these.
template <class... Args>
void check(bool ok, fmt::format_string<Args...> format, Args&&... args) {
  if (!ok) [[unlikely]]
    fail(format, std::forward<Args>(args)...);
}

}  // namespace hashgrad
