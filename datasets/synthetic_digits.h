// Procedural handwritten digits: MNIST-shaped images drawn from strokes, with no data file.
#pragma once

#include <cstdint>

#include "datasets/dataset.h"
#include "datasets/split.h"

namespace hashgrad {

/// Sizes of the two splits when all of it is asked for; they share no image.
constexpr int64_t synthetic_digits_size(Split split) { return split == Split::train ? 60000 : 10000; }

/// The first `count` images of a split, [count,1,28,28] uint8, with labels 0 to 9. Image k is a function of
/// (seed, split, k) alone: it does not depend on `count` or on the number of threads.
Dataset synthetic_digits(Split split, int64_t count, uint64_t seed = 0);

}  // namespace hashgrad
