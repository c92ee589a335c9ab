// What attacks of a single gradient share.
#pragma once

#include <functional>

#include "attacks/attack.h"

namespace hashgrad {

/// One gradient at the image, then `move(x, gradient)` for every row whose gradient is neither zero nor NaN.
/// With `own_prediction` the loss is that of the model's prediction instead of the label.
Crafted one_step(const Oracle& oracle, const AttackInput& input, const Loss& loss, bool own_prediction,
                 const std::function<Tensor(const Tensor& x, const Tensor& gradient)>& move);

}  // namespace hashgrad
