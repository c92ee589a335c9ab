// Training as `train` does it and as `compress` does it to recover accuracy: the same flags, the same loop.
#pragma once

#include <functional>
#include <string>

#include "experiments/cli/interrupt.h"
#include "experiments/cli/options.h"
#include "nn/train.h"

namespace hashgrad::cli {

struct TrainingFlags {
  int64_t epochs = 10;
  std::string optimizer = "sgd:momentum=0.9", schedule = "cosine", augment = "none";
  std::string hashed_gradient{};  // sum, mean; empty: what the verb does by itself, else sum
  double lr = 0.05, hashed_lr = 1, momentum = -1, weight_decay = -1, label_smoothing = 0, ema = 0;
  std::string resume, checkpoint, log;
  std::string run{};       // tells a run of several trainings from others: see run_stage()
  const CLI::App* verb{};  // whose flags these are
  int64_t checkpoint_steps = 0, accumulate = 1;
  bool validate = false, no_graph = false;
};

void add_training(CLI::App& verb, TrainingFlags& flags);

/// Trains `model` with a progress bar. Checkpoints go to --checkpoint, by default `output`.checkpoint, which
/// save_trained() removes, or the next training; the log to --log, by default `output`.csv. The first Ctrl-C
/// stops after a checkpoint (throws Interrupted), a second one at once. Error: `output`.checkpoint is there,
/// of a run that was interrupted, and this one does not go on with it.
/// `adapt` has the last word on the options that the flags make.
TrainResult run_training(Model& model, const DataFlags& data, const TrainingFlags& flags,
                         const CommonFlags& common, const std::string& output,
                         const std::function<void(TrainOptions&)>& adapt = {});

/// What tells a run of this verb that starts from `model` from others: a digest of its flags, but for those
/// that change no result, and of the weights.
std::string run_digest(const CLI::App& verb, const Model& model);

/// One of the trainings before the last of a run that has several. What it leads to stays in the file
/// `output` until save_trained(), and its checkpoint is `output`.checkpoint: with --resume the run loads the
/// stages that are finished, by this run as flags.run says, and goes on in the middle of the one that is not.
/// Errors: without --resume, a file of either name; with it, one of another run.
void run_stage(Model& model, const DataFlags& data, TrainingFlags flags, const CommonFlags& common,
               const std::string& output, const std::function<void(TrainOptions&)>& adapt = {});
/// Before the first stage of the run that writes `output`: --resume names a file that such a run leaves, and
/// without it there is no checkpoint of the last stage. Then --resume of that last one, to be given to
/// run_training(): empty if it has not begun.
std::string resume_of_last(const TrainingFlags& flags, const std::string& output);

/// What the last epoch came to: ", loss 0.1234, training accuracy 97.50 %"; nothing where there was none.
std::string last_epoch(const TrainResult& result);

/// Writes the model that the trainings of this run, if any, have led to. Until then the checkpoint of the
/// last one stays, which a failure names, and the models of stages before it, and the first Ctrl-C waits.
void save_trained(const std::string& output, const Model& model);

}  // namespace hashgrad::cli
