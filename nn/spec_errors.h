// How the reader of specs (nn/spec_parser.cpp) and what follows from them (nn/spec.cpp) report faults.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/error.h"

namespace hashgrad {

constexpr int64_t most_values = int64_t{1} << 28;  // of one sample in front of or behind any layer

inline constexpr const char* accepted_tokens =
    "conv64k5p2[s2][nb][@1/8], fc512[nb][@1/8], bn[(eps=1e-5,momentum=0.1)], relu, maxpool2[s2][p1], "
    "avgpool2[s2][p1], gap, flatten, dropout0.5, scale0.125, softmax, norm(mean;deviation), standardise, =a, "
    "+a, <a, cat(a,b)";

/// A token as it can stand in a one-line message.
inline std::string shown(std::string_view token) {
  std::string out(token.substr(0, 40));
  for (char& c : out)
    if (c < ' ' || c > '~') c = '?';
  if (token.size() > 40) out += "...";
  return out;
}

/// Runs `f`; an Error in it is told again with the token (counted from 1) that it is about.
template <class F>
auto locate(size_t token, std::string_view text, F&& f) {
  try {
    return f();
  } catch (const Error& error) {
    fail("spec: token {} '{}': {}", token, shown(text), error.what());
  }
}

}  // namespace hashgrad
