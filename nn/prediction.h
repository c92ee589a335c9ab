// What a network says of an image, from its logits.
#pragma once

#include <cstdint>
#include <vector>

#include "core/tensor.h"

namespace hashgrad {

/// Per row of logits [N,K] on any device: the class of the largest, the lowest such class on a tie; -1, no
/// answer, where one is NaN or the largest is infinite, for these have no probabilities. A logit of -inf
/// beside a finite one only says: not this class. Whoever counts right and wrong answers asks here; no answer
/// is not right, and no goal of an attack.
std::vector<int64_t> predictions_of(const Tensor& logits);

}  // namespace hashgrad
