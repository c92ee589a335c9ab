// A training run on disk: one safetensors file with the model, the optimiser's state, the position and all
// settings.
#pragma once

#include <map>
#include <string>

#include "nn/average.h"
#include "nn/constraints.h"
#include "nn/model.h"
#include "nn/optim.h"

namespace hashgrad {

/// Everything that a run has accumulated besides parameters and optimiser state.
struct TrainState {
  int64_t epoch = 0, batch = 0;   ///< the next batch to use
  int64_t step = 0;               ///< updates made
  int64_t seen = 0, correct = 0;  ///< samples of this epoch
  double loss_sum = 0;            ///< over them
  double loss = 0, accuracy = 0;  ///< of the last complete epoch
  double seconds = 0;             ///< spent training
  Tensor carried{};               ///< from lesson to lesson (Lesson), or undefined
  std::string log{};              ///< the log file's rows so far: rewritten whole, so it always agrees
};

/// Settings of a run by name; they are the metadata "train.<name>" of its model.
using TrainSettings = std::map<std::string, std::string>;

/// What is saved of a run besides its state: its model, and what updates the model's weights.
struct TrainParts {
  Model& model;
  Optimizer& optimizer;
  Constraints& constraints;
  WeightAverage* average;  ///< or null
};

/// Replaces `path` atomically: a kill leaves the old checkpoint or the new one. A model that has become
/// infinite or NaN is an Error and leaves the old one.
void save_checkpoint(const std::string& path, const TrainParts& parts, const TrainState& state);

/// Restores a run into parts made with the same settings, those of the model's compressions ("compress.*" of
/// its metadata) included; an Error names the first setting that differs.
TrainState load_checkpoint(const std::string& path, const TrainSettings& settings, const TrainParts& parts);

}  // namespace hashgrad
