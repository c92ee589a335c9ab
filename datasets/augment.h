// Random changes to training images that keep their labels.
#pragma once

#include <cstdint>
#include <string>

namespace hashgrad {

/// Which changes to make. Draws are keyed by (seed, epoch, sample), so a sample's fate does not depend on its
/// batch.
struct Augmentation {
  int64_t shift = 0;  ///< move by up to this many pixels in x and in y, filling with zeros
  bool flip = false;  ///< mirror left to right, with probability one half

  bool any() const { return shift > 0 || flip; }
};

/// Reads "none", or a list such as "shift:2" or "crop:4,flip". crop:P (a random window of the image padded by
/// P zeros) is shift:P under its other name; P is at most 64.
Augmentation parse_augmentation(const std::string& text);
/// The same in the words that parse_augmentation reads.
std::string to_string(const Augmentation& augmentation);

/// Writes the changed copy of one [channels,height,width] image to `out`; T is float or double.
template <class T>
void augment(const Augmentation& augmentation, uint64_t seed, int64_t epoch, int64_t sample, int64_t channels,
             int64_t height, int64_t width, const T* image, T* out);

}  // namespace hashgrad
