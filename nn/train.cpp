#include "nn/train.h"

#include <chrono>
#include <cmath>
#include <limits>

#include "autograd/ops/loss.h"
#include "autograd/ops/reduce.h"
#include "core/file.h"
#include "datasets/loader.h"
#include "nn/checkpoint.h"

namespace hashgrad {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* log_header =
    "epoch,step,lr,loss,accuracy,validation_loss,validation_accuracy,seconds\n";

void check_options(const TrainOptions& o) {
  const auto positive = [](double value, const char* what) {
    check(value > 0 && std::isfinite(value), "train: {} is {}, a number above 0 is expected", what, value);
  };
  check(o.epochs >= 0 && o.epochs <= 1'000'000, "train: epochs is {}, 0 to 1000000 is accepted", o.epochs);
  check(o.batch >= 1, "train: batch is {}, at least 1 is accepted", o.batch);
  check(o.checkpoint_steps >= 0, "train: checkpoint_steps is {}, 0 or more is accepted", o.checkpoint_steps);
  check(o.label_smoothing >= 0 && o.label_smoothing < 1,
        "train: label smoothing is {}, at least 0 and below 1 is accepted", o.label_smoothing);
  positive(o.lr, "the learning rate");
  positive(o.hashed_lr, "the factor on the learning rate of hashed layers");
}

TrainSettings settings_of(const Model& model, const Dataset& data, const TrainOptions& o) {
  return {{"data", data.name},
          {"samples", std::to_string(data.size())},
          {"dtype", name_of(model.dtype())},
          {"epochs", std::to_string(o.epochs)},
          {"batch", std::to_string(o.batch)},
          {"optimizer", to_string(o.optimizer)},
          {"lr", fmt::format("{}", o.lr)},
          {"schedule", o.schedule.text()},
          {"hashed_lr", fmt::format("{}", o.hashed_lr)},
          {"label_smoothing", fmt::format("{}", o.label_smoothing)},
          {"augment", to_string(o.augmentation)},
          {"seed", std::to_string(o.seed)}};
}

int64_t count_correct(const Tensor& logits, const Tensor& labels) {
  const std::vector<int64_t> given = argmax(logits, 1).to_vector<int64_t>();
  int64_t correct = 0;
  for (int64_t i = 0; i < labels.numel(); ++i)
    correct += given[static_cast<size_t>(i)] == labels.data<int64_t>()[i];
  return correct;
}

class Trainer {
 public:
  Trainer(Model& model, const Dataset& data, const TrainOptions& options)
      : model_(model),
        options_(options),
        optimizer_(model.parameters(), options.optimizer),
        loader_(data, {.batch = options.batch,
                       .dtype = model.dtype(),
                       .seed = options.seed,
                       .augmentation = options.augmentation}) {
    const TrainSettings settings = settings_of(model, data, options);
    if (!options.resume.empty()) state_ = load_checkpoint(options.resume, settings, model, optimizer_);
    for (const auto& [name, value] : settings) model.metadata["train." + name] = value;
    earlier_seconds_ = state_.seconds;
  }

  TrainResult run() {
    save();  // before any work: a path that cannot be written shows now, and a resume always finds a file
    bool stopped = false;
    while (state_.epoch < options_.epochs && !stopped) {
      stopped = !run_epoch();
      if (!stopped) finish_epoch();
      save();
    }
    model_.zero_grad();
    return {state_.epoch, state_.step, state_.loss, state_.accuracy, state_.seconds, stopped};
  }

 private:
  /// The rest of the current epoch; false when the stop flag ended it early.
  bool run_epoch() {
    Epoch epoch = loader_.epoch(state_.epoch, state_.batch);
    while (std::optional<Batch> batch = epoch.next()) {
      update(*batch);
      report();
      if (options_.stop && *options_.stop) return false;
      if (options_.checkpoint_steps > 0 && state_.step % options_.checkpoint_steps == 0) save();
    }
    return true;
  }

  void update(const Batch& batch) {
    const Pass pass{.training = true,
                    .seed = options_.seed,
                    .step = static_cast<uint32_t>(state_.step),
                    .samples = batch.indices};
    model_.zero_grad();
    const Variable logits = model_.logits(Variable(batch.images.to(model_.device())), pass);    // [B, K]
    const Variable loss = mean(cross_entropy(logits, batch.labels, options_.label_smoothing));  // []
    const double value = loss.value().item();
    check(std::isfinite(value),
          "train: the loss is {} at step {} of epoch {}; a smaller learning rate may help{}", value,
          state_.step + 1, state_.epoch + 1,
          options_.checkpoint.empty() ? "" : " (the checkpoint " + options_.checkpoint + " is kept)");
    loss.backward();
    optimizer_.step(learning_rate(state_.step), options_.hashed_lr);

    const int64_t samples = batch.labels.numel();
    state_.loss_sum += value * static_cast<double>(samples);
    state_.correct += count_correct(logits.value(), batch.labels);
    state_.seen += samples;
    seen_in_this_run_ += samples;
    ++state_.step;
    ++state_.batch;
  }

  /// Of the update number `step`, from 0.
  double learning_rate(int64_t step) const {
    return options_.lr * options_.schedule.factor(step, loader_.batches(), options_.epochs);
  }

  void report() {
    const double now = seconds_in_this_run();
    state_.seconds = earlier_seconds_ + now;
    if (!options_.progress) return;
    const double seen = static_cast<double>(state_.seen);
    options_.progress({.epoch = state_.epoch + 1,
                       .epochs = options_.epochs,
                       .step = state_.step,
                       .steps = options_.epochs * loader_.batches(),
                       .lr = learning_rate(state_.step - 1),
                       .loss = state_.loss_sum / seen,
                       .accuracy = static_cast<double>(state_.correct) / seen,
                       .images_per_second = static_cast<double>(seen_in_this_run_) / now});
  }

  void finish_epoch() {
    const double seen = static_cast<double>(state_.seen);
    state_.loss = state_.loss_sum / seen;
    state_.accuracy = static_cast<double>(state_.correct) / seen;
    std::string validation = ",";
    if (options_.validation) {
      const Evaluation e = evaluate(model_, *options_.validation);
      validation = fmt::format("{:.6g},{:.6g}", e.loss, e.accuracy);
    }
    state_.log +=
        fmt::format("{},{},{:.6g},{:.6g},{:.6g},{},{:.3f}\n", state_.epoch + 1, state_.step,
                    learning_rate(state_.step - 1), state_.loss, state_.accuracy, validation, state_.seconds);
    ++state_.epoch;
    state_.batch = state_.seen = state_.correct = 0;
    state_.loss_sum = 0;
  }

  /// The checkpoint first: a log row exists only for an epoch that a resumed run will not repeat.
  void save() const {
    if (!options_.checkpoint.empty()) save_checkpoint(options_.checkpoint, model_, optimizer_, state_);
    if (!options_.log_csv.empty()) write_file(options_.log_csv, log_header + state_.log);
  }

  double seconds_in_this_run() const {
    return std::max(std::chrono::duration<double>(Clock::now() - began_).count(), 1e-9);
  }

  Model& model_;
  const TrainOptions& options_;
  Optimizer optimizer_;
  Loader loader_;
  TrainState state_;
  double earlier_seconds_ = 0;
  int64_t seen_in_this_run_ = 0;
  Clock::time_point began_ = Clock::now();
};

}  // namespace

TrainResult train(Model& model, const Dataset& data, const TrainOptions& options) {
  check_options(options);
  check_fits(model, data);
  if (options.validation) check_fits(model, *options.validation);
  return Trainer(model, data, options).run();
}

}  // namespace hashgrad
