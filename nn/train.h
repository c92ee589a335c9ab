// Training: the loop, its log, its checkpoints.
#pragma once

#include <atomic>
#include <functional>
#include <string>

#include "core/math_mode.h"
#include "datasets/augment.h"
#include "datasets/dataset.h"
#include "nn/constraints.h"
#include "nn/evaluate.h"
#include "nn/model.h"
#include "nn/optim.h"
#include "nn/schedule.h"

namespace hashgrad {

/// Where training stands; given to the progress callback after every step on the CPU, and every
/// `report_seconds` on a device.
struct TrainProgress {
  int64_t epoch = 0, epochs = 0;  ///< epoch counts from 1
  int64_t step = 0, steps = 0;    ///< updates made, updates in all
  double lr = 0;
  double loss = 0;               ///< mean over the samples of this epoch so far
  double accuracy = 0;           ///< share of them classified correctly, before the update
  double images_per_second = 0;  ///< since this run began
};

/// What one update learns from, on the model's device.
struct Lesson {
  Tensor images;   // [B,C,H,W], augmented
  Tensor targets;  // [B,K], the wanted distribution of each: its label, smoothed
  Tensor labels;   // [B] int64
  Tensor samples;  // [B] int64: the places of the images in the dataset
  int64_t step;    // updates made before
  /// With TrainOptions::heed: [B,C,H,W], memory that the training hands from lesson to lesson, row n of it to
  /// whatever image stands at row n. At first 0. Checkpoints keep it.
  Tensor carried{};
};

struct TrainOptions {
  int64_t epochs = 10;  ///< passes over the data
  int64_t batch = 128;  ///< images at once
  /// Batches of which one update is made; their gradients add up to that of one large batch, but statistics
  /// of batch norms are of each. An epoch's last update takes what is left. Such steps are not recorded as
  /// graphs.
  int64_t accumulate = 1;
  OptimizerOptions optimizer{};
  double lr = 0.05;
  Schedule schedule{};
  double hashed_lr = 1;  ///< factor on lr for bucket values and shared weights, whose gradients are sums
  HashedGradient hashed_gradient = HashedGradient::sum;  ///< of bucket values; the mean needs no factor
  Rounding rounding = Rounding::nearest;                 ///< of weights in fixed point
  Surgery surgery{};                                     ///< compression/dns.h makes one
  /// How the products of a step are computed, forward and backward; weights, activations, sums and updates
  /// are float32 always. bf16 is mixed precision.
  Math math = Math::fp32;
  double label_smoothing = 0;  ///< in [0, 1): targets (1 - s) one-hot + s / K
  double temperature = 1;      ///< the loss is that of logits / temperature
  /// Above 0: validation, and the model in the end, are of the moving average of the weights with this decay
  /// (nn/average.h). Statistics of batch norms are not averaged.
  double ema = 0;
  Augmentation augmentation{};
  /// May replace images and targets of a lesson; a function of the lesson and of the model as it stands, or a
  /// resumed run would differ. `method` says what it does, for the record and for a resumed run to agree on.
  /// Such steps are not recorded as graphs.
  std::function<void(Lesson&)> teach{};
  /// Called after the backward pass of every lesson with the gradient of the loss with respect to its images;
  /// may change lesson.carried in place. The gradient takes input transforms for the identity.
  std::function<void(const Lesson&, const Tensor& gradient)> heed{};
  int64_t replays = 1;  ///< updates on each batch, in a row; schedules count each round of them as an epoch
  std::string method = "plain";
  std::string start{};  ///< says which weights training starts from, for a resumed run to agree on
  uint64_t seed = 0;    ///< of order, augmentation and dropout
  const Dataset* validation = nullptr;  ///< evaluated after every epoch, for the log

  std::string log_csv{};         ///< one row per epoch; empty: none
  std::string checkpoint{};      ///< written after every epoch and when stopped; empty: none
  int64_t checkpoint_steps = 0;  ///< and every so many steps; 0: not
  std::string resume{};          ///< checkpoint to continue from; empty: start anew

  bool graph = true;            ///< run a device's steps as recorded graphs; the bits are the same without
  double report_seconds = 0.2;  ///< on a device: between two looks at its counts, which wait for it
  std::function<void(const TrainProgress&)> progress{};
  /// After each, counted from 1. The model then has the weights that it would end with: the average, with
  /// `ema`.
  std::function<void(int64_t epoch)> epoch_done{};
  const std::atomic<bool>* stop = nullptr;  ///< set by another thread or a signal: stop after this step
};

struct TrainResult {
  int64_t epochs = 0, steps = 0;  ///< done in all, earlier runs of a resumed training included
  double loss = 0, accuracy = 0;  ///< of the last epoch
  double seconds = 0;             ///< earlier runs included
  int64_t peak_bytes = 0;         ///< most memory of tensors at any moment of this run, on the model's device
  bool stopped = false;           ///< by the stop flag
};

/// Minimises the mean cross-entropy of `data` in place. What model.coding says of parameters stays true of
/// them (nn/constraints.h). The same model, data, options and seed give the same bits, whatever the number of
/// threads, and also when the run was killed at any moment and resumed from its checkpoint. Settings are
/// recorded in model.metadata under "train.*". Errors: options out of range, data that do not fit the model,
/// batches of one image where batch norm needs two, a checkpoint made with other settings (naming the first
/// that differs), a loss that is not finite: the error names the first step with one, the last checkpoint is
/// kept, and the model is of no use any more.
///
/// On a device nothing waits for a step, so several may be under way: docs/architecture.md, "A training step
/// on a device".
TrainResult train(Model& model, const Dataset& data, const TrainOptions& options);

}  // namespace hashgrad
