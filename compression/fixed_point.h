// Fixed-point weights and activations (Zhao et al., after Mayo): the network computes with numbers of a few
// bits.
#pragma once

#include <string>

#include "nn/constraints.h"
#include "nn/model.h"

namespace hashgrad {

struct FixedPointCompression {
  FixedPointFormat format{};
  bool activations = true;     ///< round what the layers put out, too
  std::string layers = "all";  // or "last:k", of the fully connected and convolution layers
  /// Of weights and biases. What layers put out is always rounded to the nearest: a network must give one
  /// image one answer, whenever and beside whichever others it is asked.
  Rounding rounding = Rounding::nearest;
  uint64_t seed = 0;  ///< of stochastic rounding
};

/// Says in model.coding what is to be rounded, and rounds nothing yet: training does from its first step on,
/// starting from the full values, by TrainOptions::rounding and its seed. Weights and biases of the chosen
/// layers (of hashed ones the bucket values), and, with `activations`, what stands behind them: a layer's
/// output, or that of the batch norm behind it; not the class scores, which no activation function follows.
/// Batch norm's own numbers stay. Errors: a format out of range, layers that are shared or in fixed point
/// already.
void declare_fixed_point(Model& model, const FixedPointCompression& options);

/// A copy that is declared and rounded.
Model compress_fixed_point(const Model& model, const FixedPointCompression& options);

}  // namespace hashgrad
