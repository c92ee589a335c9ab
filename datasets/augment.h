// Random changes to training images that keep their labels.
#pragma once

#include <cstdint>
#include <string>

#include "core/random.h"

namespace hashgrad {

/// Which changes to make. Draws are keyed by (seed, epoch, sample), so a sample's fate does not depend on its
/// batch.
struct Augmentation {
  int64_t shift = 0;  ///< move by up to this many pixels in x and in y, filling with zeros
  bool flip = false;  ///< mirror left to right, with probability one half
  /// Then set a square of this many pixels a side to 0, at a random place within the image (DeVries and
  /// Taylor 2017, but never over the edge); as much of the square as the image has room for.
  int64_t cutout = 0;
  /// Colours, before all that: brightness, contrast around 0.5 and (of three channels) saturation, each times
  /// a number uniform in [1 - jitter, 1 + jitter], in this order, and the result cut to [0,1].
  double jitter = 0;

  bool any() const { return shift > 0 || flip || cutout > 0 || jitter > 0; }
};

/// Reads "none", or a list such as "shift:2" or "crop:4,flip,cutout:8,jitter:0.4". crop:P (a random window of
/// the image padded by P zeros) is shift:P under its other name; P is at most 64, the jitter in (0, 1].
Augmentation parse_augmentation(const std::string& text);
/// The same in the words that parse_augmentation reads.
std::string to_string(const Augmentation& augmentation);

// What happens to one image: what every device must compute alike.

/// Where its elements go.
struct Move {
  int64_t dy, dx;
  bool mirror;
  int64_t cutout;
  uint64_t top, left;  // of the square, as fractions of the places it has, in units of 2^-32

  constexpr Move(const Augmentation& augmentation, uint64_t seed, int64_t epoch, int64_t sample)
      : dy(0), dx(0), mirror(false), cutout(augmentation.cutout), top(0), left(0) {
    Random random(seed, Stream::augment, static_cast<uint64_t>(sample), static_cast<uint32_t>(epoch));
    const uint32_t choices = static_cast<uint32_t>(2 * augmentation.shift + 1);
    dy = random.below(choices) - augmentation.shift;
    dx = random.below(choices) - augmentation.shift;
    mirror = augmentation.flip && random.below(2) == 1;
    if (cutout == 0) return;
    top = random.bits();
    left = random.bits();
  }

  /// Which element of a plane [height,width] moves to (row, column); -1 where none does.
  constexpr int64_t source(int64_t height, int64_t width, int64_t row, int64_t column) const {
    if (cut(top, height, row) && cut(left, width, column)) return -1;
    const int64_t y = row + dy, x = (mirror ? width - 1 - column : column) + dx;
    return 0 <= y && y < height && 0 <= x && x < width ? y * width + x : -1;
  }

 private:
  /// Whether the square covers position `at` of an axis.
  constexpr bool cut(uint64_t fraction, int64_t size, int64_t at) const {
    const int64_t side = cutout < size ? cutout : size;
    const int64_t begin = static_cast<int64_t>((fraction * static_cast<uint64_t>(size - side + 1)) >> 32);
    return begin <= at && at < begin + side;
  }
};

/// What becomes of its colours.
struct Tint {
  bool any;
  double brightness, contrast, saturation;

  constexpr Tint(const Augmentation& augmentation, uint64_t seed, int64_t epoch, int64_t sample)
      : any(augmentation.jitter > 0), brightness(1), contrast(1), saturation(1) {
    if (!any) return;
    Random random(seed, Stream::colour, static_cast<uint64_t>(sample), static_cast<uint32_t>(epoch));
    const auto factor = [&] { return 1 + augmentation.jitter * (2 * random.uniform_double() - 1); };
    brightness = factor();
    contrast = factor();
    saturation = factor();
  }

  /// Of the image's element number `at` of a channel; a channel has `plane` elements.
  template <class T>
  constexpr T operator()(const T* image, int64_t channels, int64_t plane, int64_t channel, int64_t at) const {
    if (!any) return image[channel * plane + at];
    const T half = T{0.5};
    const auto lit = [&](int64_t c) {
      return (image[c * plane + at] * static_cast<T>(brightness) - half) * static_cast<T>(contrast) + half;
    };
    T v = lit(channel);
    if (channels == 3) {
      const T grey =
          static_cast<T>(0.299) * lit(0) + static_cast<T>(0.587) * lit(1) + static_cast<T>(0.114) * lit(2);
      v = grey + static_cast<T>(saturation) * (v - grey);
    }
    return v < T{0} ? T{0} : v > T{1} ? T{1} : v;
  }
};

namespace cpu {
/// out [batch,channels,height,width] = the changed copies of `images`; row n is number samples[n] of its
/// dataset.
template <class T>
void augment(const Augmentation& augmentation, uint64_t seed, const int64_t* epoch, int64_t batch,
             const int64_t* samples, int64_t channels, int64_t height, int64_t width, const T* images,
             T* out);
}  // namespace cpu

}  // namespace hashgrad
