#include "datasets/augment.h"

#include <algorithm>
#include <charconv>
#include <string_view>

#include "core/error.h"
#include "core/random.h"

namespace hashgrad {
namespace {

constexpr int64_t most_pixels = 64;

int64_t parse_pixels(std::string_view number, const std::string& text) {
  int64_t pixels = 0;
  const char* end = number.data() + number.size();
  const auto [stop, error] = std::from_chars(number.data(), end, pixels);
  check(error == std::errc{} && stop == end && 1 <= pixels && pixels <= most_pixels,
        "augment: '{}' in '{}' is not a number of pixels (accepted: 1 to {})", number, text, most_pixels);
  return pixels;
}

}  // namespace

Augmentation parse_augmentation(const std::string& text) {
  Augmentation result;
  if (text == "none") return result;
  for (std::string_view rest = text;;) {
    const size_t comma = std::min(rest.find(','), rest.size());
    const std::string_view word = rest.substr(0, comma);
    if (word == "flip") {
      result.flip = true;
    } else if (word.starts_with("shift:")) {
      result.shift = parse_pixels(word.substr(6), text);
    } else if (word.starts_with("crop:")) {
      result.shift = parse_pixels(word.substr(5), text);
    } else {
      fail("augment: '{}' is unknown (accepted: none, or a list of shift:P, crop:P, flip)", word);
    }
    if (comma == rest.size()) return result;
    rest.remove_prefix(comma + 1);
  }
}

std::string to_string(const Augmentation& augmentation) {
  if (!augmentation.any()) return "none";
  if (augmentation.shift == 0) return "flip";
  return fmt::format("shift:{}{}", augmentation.shift, augmentation.flip ? ",flip" : "");
}

template <class T>
void augment(const Augmentation& augmentation, uint64_t seed, int64_t epoch, int64_t sample, int64_t channels,
             int64_t height, int64_t width, const T* image, T* out) {
  Random random(seed, Stream::augment, static_cast<uint64_t>(sample), static_cast<uint32_t>(epoch));
  const uint32_t choices = static_cast<uint32_t>(2 * augmentation.shift + 1);
  const int64_t dy = random.below(choices) - augmentation.shift;
  const int64_t dx = random.below(choices) - augmentation.shift;
  const bool mirror = augmentation.flip && random.below(2) == 1;
  for (int64_t row = 0; row < channels * height; ++row) {
    const int64_t y = row % height + dy;
    for (int64_t column = 0; column < width; ++column) {
      const int64_t x = (mirror ? width - 1 - column : column) + dx;
      const bool inside = 0 <= y && y < height && 0 <= x && x < width;
      out[row * width + column] = inside ? image[(row + dy) * width + x] : T{0};
    }
  }
}

template void augment(const Augmentation&, uint64_t, int64_t, int64_t, int64_t, int64_t, int64_t,
                      const float*, float*);
template void augment(const Augmentation&, uint64_t, int64_t, int64_t, int64_t, int64_t, int64_t,
                      const double*, double*);

}  // namespace hashgrad
