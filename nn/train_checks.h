// What a training asks of its options, its model and its data before it begins, and the record of them.
#pragma once

#include "nn/checkpoint.h"
#include "nn/train.h"

namespace hashgrad {

/// The Errors that train() promises, but for those that show on the way.
void check_training(const Model& model, const Dataset& data, const TrainOptions& options);

/// The settings of a run, for its record, and for a resumed run to agree on.
TrainSettings settings_of(const Model& model, const Dataset& data, const TrainOptions& options);

}  // namespace hashgrad
