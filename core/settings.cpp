#include "core/settings.h"

#include <charconv>

#include "core/error.h"

namespace hashgrad {

std::vector<std::string> split_at(std::string_view text, char separator) {
  std::vector<std::string> pieces;
  for (;;) {
    const size_t end = text.find(separator);
    pieces.emplace_back(text.substr(0, end));
    if (end == std::string_view::npos) return pieces;
    text.remove_prefix(end + 1);
  }
}

double parse_number(const std::string& text, const std::string& what, double least, double most) {
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  check(error == std::errc{} && stop == end, "{} is '{}', a number is expected", what, text);
  check(value >= least && value <= most, "{} is {}, {} to {} is accepted", what, text, least, most);
  return value;
}

}  // namespace hashgrad
