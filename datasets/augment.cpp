#include "datasets/augment.h"

#include <algorithm>
#include <charconv>
#include <fmt/ranges.h>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/settings.h"

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
  const auto once = [&](bool first) { check(first, "augment: '{}' asks for the same change twice", text); };
  for (std::string_view rest = text;;) {
    const size_t comma = std::min(rest.find(','), rest.size());
    const std::string_view word = rest.substr(0, comma);
    if (word == "flip") {
      once(!result.flip);
      result.flip = true;
    } else if (word.starts_with("shift:")) {
      once(result.shift == 0);
      result.shift = parse_pixels(word.substr(6), text);
    } else if (word.starts_with("crop:")) {
      once(result.shift == 0);
      result.shift = parse_pixels(word.substr(5), text);
    } else if (word.starts_with("cutout:")) {
      once(result.cutout == 0);
      result.cutout = parse_pixels(word.substr(7), text);
    } else if (word.starts_with("jitter:")) {
      once(result.jitter == 0);
      result.jitter = parse_number(std::string(word.substr(7)), "augment: jitter", 0, 1);
      check(result.jitter > 0, "augment: jitter is 0, a number above 0 is expected");
    } else {
      fail(
          "augment: '{}' is unknown (accepted: none, or a list of shift:P, crop:P, flip, cutout:S, jitter:S)",
          word);
    }
    if (comma == rest.size()) return result;
    rest.remove_prefix(comma + 1);
  }
}

std::string to_string(const Augmentation& augmentation) {
  std::vector<std::string> words;
  if (augmentation.shift > 0) words.push_back(fmt::format("shift:{}", augmentation.shift));
  if (augmentation.flip) words.push_back("flip");
  if (augmentation.cutout > 0) words.push_back(fmt::format("cutout:{}", augmentation.cutout));
  if (augmentation.jitter > 0) words.push_back(fmt::format("jitter:{}", augmentation.jitter));
  return words.empty() ? "none" : fmt::format("{}", fmt::join(words, ","));
}

template <class T>
void cpu::augment(const Augmentation& augmentation, uint64_t seed, const int64_t* epoch, int64_t batch,
                  const int64_t* samples, int64_t channels, int64_t height, int64_t width, const T* images,
                  T* out) {
  for (int64_t n = 0; n < batch; ++n) {
    const Move move(augmentation, seed, *epoch, samples[n]);
    const Tint tint(augmentation, seed, *epoch, samples[n]);
    const int64_t plane = height * width;
    const T* image = images + n * channels * plane;
    T* to = out + n * channels * plane;
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t row = 0; row < height; ++row)
        for (int64_t column = 0; column < width; ++column) {
          const int64_t source = move.source(height, width, row, column);
          *to++ = source < 0 ? T{0} : tint(image, channels, plane, c, source);
        }
  }
}

template void cpu::augment(const Augmentation&, uint64_t, const int64_t*, int64_t, const int64_t*, int64_t,
                           int64_t, int64_t, const float*, float*);
template void cpu::augment(const Augmentation&, uint64_t, const int64_t*, int64_t, const int64_t*, int64_t,
                           int64_t, int64_t, const double*, double*);

}  // namespace hashgrad
