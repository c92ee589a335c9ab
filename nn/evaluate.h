// Accuracy and loss of a model on labelled images.
#pragma once

#include <cstdint>

#include "datasets/dataset.h"
#include "nn/model.h"

namespace hashgrad {

struct Score {
  int64_t samples = 0, correct = 0;
  double accuracy = 0;  ///< correct / samples
  double loss = 0;      ///< mean cross-entropy
  int64_t nan = 0;      ///< samples without an answer (nn/prediction.h): not correct
};

/// Evaluates in inference. The result does not depend on `batch`. Errors: no labels, no samples, or data that
/// do not fit the model.
Score evaluate(const Model& model, const Dataset& data, int64_t batch = 256);

/// Throws unless `data` is labelled, not empty, and has images and classes that `model` can take.
void check_fits(const Model& model, const Dataset& data);

}  // namespace hashgrad
