#include "compression/layers.h"

#include <charconv>

namespace hashgrad {

std::optional<size_t> parse_last(const std::string& selection) {
  if (!selection.starts_with("last:")) return std::nullopt;
  size_t k = 0;
  const char *begin = selection.data() + 5, *end = selection.data() + selection.size();
  const auto [stop, error] = std::from_chars(begin, end, k);
  if (error != std::errc() || stop != end || k == 0) return std::nullopt;
  return k;
}

std::vector<size_t> select_layers(const Spec& spec, const std::string& selection, const std::string& what) {
  std::vector<size_t> weighted;
  for (size_t i = 0; i < spec.layers.size(); ++i)
    if (spec.layers[i].has_weight()) weighted.push_back(i);
  if (selection == "all") return weighted;
  const std::optional<size_t> k = parse_last(selection);
  check(k.has_value(), "{}: layers '{}', expected all or last:k with k >= 1", what, selection);
  check(*k <= weighted.size(), "{}: layers '{}' of a model with {} convolution and fully connected layers",
        what, selection, weighted.size());
  return {weighted.end() - static_cast<std::ptrdiff_t>(*k), weighted.end()};
}

}  // namespace hashgrad
