#include "core/math_mode.h"

#include <algorithm>

#include "core/error.h"

namespace hashgrad {
namespace {

thread_local Math chosen = Math::fp32;

}  // namespace

const std::vector<std::string>& math_names() {
  static const std::vector<std::string> names = {"fp32", "split-bf16", "split-bf16-x6", "bf16"};
  return names;
}

const char* name_of(Math math) { return math_names()[static_cast<size_t>(math)].c_str(); }

Math parse_math(const std::string& text) {
  const auto& names = math_names();
  const auto at = std::find(names.begin(), names.end(), text);
  check(at != names.end(), "math: '{}' is not available (accepted: fp32, split-bf16, split-bf16-x6, bf16)",
        text);
  return static_cast<Math>(at - names.begin());
}

Math math_mode() { return chosen; }

MathScope::MathScope(Math wanted) : before_(chosen) { chosen = wanted; }
MathScope::~MathScope() { chosen = before_; }

}  // namespace hashgrad
