#include "nn/train.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <optional>

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/loss.h"
#include "autograd/ops/reduce.h"
#include "core/device_memory.h"
#include "core/file.h"
#include "cuda/augment.h"
#include "cuda/pipeline.h"
#include "cuda/tally.h"
#include "datasets/loader.h"
#include "nn/checkpoint.h"
#include "nn/train_checks.h"

namespace hashgrad {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* log_header =
    "epoch,step,lr,loss,accuracy,validation_loss,validation_accuracy,seconds\n";

/// All that differs from one step to the next, in the memory of the model's device.
struct StepInputs {
  Tensor images;   // [B,C,H,W]
  Tensor numbers;  // [2 + 2 B] int64: the step, the epoch, B labels and B numbers of samples
  Tensor pace;     // of the optimiser

  StepInputs(const Batch& batch, int64_t step_number, int64_t epoch_number, const Tensor& pace_,
             Device device)
      : images(batch.images.to(device)), pace(pace_.to(device)) {
    std::vector<int64_t> all{step_number, epoch_number};
    const int64_t* labels_begin = batch.labels.data<int64_t>();
    all.insert(all.end(), labels_begin, labels_begin + batch.labels.numel());
    all.insert(all.end(), batch.indices.begin(), batch.indices.end());
    numbers = Tensor::of(all, {std::ssize(all)}).to(device);
  }

  int64_t batch() const { return images.size(0); }
  Tensor step() const { return numbers.slice(0, 0, 1); }
  Tensor epoch() const { return numbers.slice(0, 1, 2); }
  Tensor labels() const { return numbers.slice(0, 2, 2 + batch()); }
  Tensor samples() const { return numbers.slice(0, 2 + batch(), 2 + 2 * batch()); }

  void copy_from(const StepInputs& other) {
    images.copy_from(other.images);
    numbers.copy_from(other.numbers);
    pace.copy_from(other.pace);
  }
};

/// The steps on batches of one size: the first one as it comes, which makes whatever is made only once
/// (tables of hashed layers), the second one recorded, and all from there on by running the recording.
struct RepeatedStep {
  std::optional<StepInputs> inputs;  // that the recording reads
  std::function<void()> run;
};

/// A batch's part in an update.
struct Part {
  bool first = true, last = true;
  double share = 1;  // of the update's images
};

class Trainer {
 public:
  Trainer(Model& model, const Dataset& data, const TrainOptions& options)
      : model_(model),
        options_(options),
        device_(model.device()),
        constraints_(model, {options.surgery, options.rounding, options.hashed_gradient, options.seed}),
        optimizer_(constraints_.trained(), options.optimizer),
        loader_(data, {.batch = options.batch,
                       .dtype = model.dtype(),
                       .seed = options.seed,
                       .augmentation = on_cpu() ? options.augmentation : Augmentation{}}),
        tally_(sizeof(cpu::Tally), device_) {
    HASHGRAD_ON(device_, make_pipeline(pipeline_));
    if (options.ema > 0) average_.emplace(constraints_.trained(), options.ema);
    const TrainSettings settings = settings_of(model, data, options);
    if (!options.resume.empty()) state_ = load_checkpoint(options.resume, settings, parts());
    prepare_carried();
    for (const auto& [name, value] : settings) model.metadata["train." + name] = value;
    earlier_seconds_ = state_.seconds;
    write_tally();
  }

  TrainResult run() {
    memory_of(device_).reset_peak();
    save();  // before any work: a path that cannot be written shows now, and a resume always finds a file
    bool stopped = false;
    while (state_.epoch < options_.epochs && !stopped) {
      stopped = !run_epoch();
      if (!stopped) finish_epoch();
      save();
    }
    model_.zero_grad();
    if (!stopped) lend_average();
    return {.epochs = state_.epoch,
            .steps = state_.step,
            .loss = state_.loss,
            .accuracy = state_.accuracy,
            .seconds = state_.seconds,
            .peak_bytes = memory_of(device_).count().peak,
            .stopped = stopped};
  }

 private:
  /// The rest of the current epoch; false when the stop flag ended it early.
  bool run_epoch() {
    Epoch epoch = loader_.epoch(state_.epoch, state_.batch);
    while (std::optional<Batch> batch = epoch.next()) {
      const Part part = part_of(state_.batch);
      const int64_t before = state_.step;
      for (int64_t replay = 0; replay < options_.replays; ++replay) update(*batch, part);
      ++state_.batch;
      if (!part.last) continue;
      report();
      if (options_.stop && *options_.stop) return false;
      const int64_t often = options_.checkpoint_steps;
      if (often > 0 && state_.step / often != before / often) save();
    }
    return true;
  }

  /// Of batch number `batch` of an epoch.
  Part part_of(int64_t batch) const {
    const int64_t first = batch / options_.accumulate * options_.accumulate;
    const int64_t end = std::min(first + options_.accumulate, loader_.batches());
    const auto images = [&](int64_t from, int64_t to) {
      return static_cast<double>(std::min(to * options_.batch, loader_.data().size()) -
                                 from * options_.batch);
    };
    return {batch == first, batch + 1 == end, images(batch, batch + 1) / images(first, end)};
  }

  void update(const Batch& batch, const Part& part) {
    if (part.first)
      constraints_.revise({state_.step, steps_per_epoch(), options_.epochs * steps_per_epoch()});
    std::optional<StepInputs> inputs;
    const Tensor pace =
        part.last ? optimizer_.pace(learning_rate(state_.step)) : Tensor::zeros({3}, DType::float64);
    pipeline_->upload([&] { inputs.emplace(batch, state_.step, state_.epoch, pace, device_); });
    run_step(std::move(inputs), part);
    state_.seen += std::ssize(batch.indices);
    seen_in_this_run_ += std::ssize(batch.indices);
    state_.step += part.last;
  }

  void run_step(std::optional<StepInputs> inputs, const Part& part) {
    const auto [at, first] = repeated_.try_emplace(inputs->batch());
    RepeatedStep& repeated = at->second;
    if (first || !recordable()) return issue_step(*inputs, part);
    if (!repeated.run) {
      repeated.inputs = std::move(inputs);
      repeated.run = pipeline_->record([&] { issue_step(*repeated.inputs, Part{}); });
    } else {
      repeated.inputs->copy_from(*inputs);
      inputs.reset();  // before the step: the next upload waits for what was issued up to here
    }
    repeated.run();
  }

  /// Lessons and input transforms (nn/input_transform.h) look at images on the host.
  bool recordable() const {
    return options_.graph && options_.accumulate == 1 && !options_.teach && !options_.heed &&
           model_.transforms().empty();
  }

  /// One update, or a part of one. It issues work and neither waits for it nor brings anything from the host,
  /// so it can be recorded (see recordable()); and it leaves no trace but in the memory of the device, or a
  /// recording would miss it.
  void issue_step(const StepInputs& in, const Part& part) {
    const MathScope math(options_.math);
    const Pass pass{.training = true,
                    .seed = options_.seed,
                    .step = in.step(),
                    .samples = in.samples(),
                    .stand_ins = options_.heed != nullptr};
    const Tensor labels = in.labels();  // [B]
    Lesson lesson{
        augmented(in),
        smoothed_one_hot_of_valid(labels, model_.classes(), options_.label_smoothing, model_.dtype()), labels,
        in.samples(), 0};
    if (options_.heed) lesson.carried = state_.carried.slice(0, 0, in.batch());
    if (options_.teach) {
      lesson.step = in.step().to(Device{}).data<int64_t>()[0];
      options_.teach(lesson);
    }
    if (part.first) model_.zero_grad();
    const Variable images = options_.heed ? Variable::leaf(lesson.images) : Variable(lesson.images);
    const Variable logits = model_.logits(images, pass);  // [B, K]
    const Variable cooled = options_.temperature == 1 ? logits : logits / options_.temperature;
    const Variable loss = mean(cross_entropy_soft(cooled, lesson.targets));  // []
    count(loss.value(), argmax(logits.value(), 1), labels, in.step());
    (part.share == 1 ? loss : loss * part.share).backward();
    if (options_.heed) options_.heed(lesson, images.grad());
    if (!part.last) return;
    constraints_.constrain_gradients();
    optimizer_.update(in.pace, options_.hashed_lr);
    if (average_) average_->update();
    constraints_.project();
  }

  /// The images [B,C,H,W] of a step; on the CPU the loader's thread has changed them already.
  Tensor augmented(const StepInputs& in) const {
    if (on_cpu() || !options_.augmentation.any()) return in.images;
    const Tensor epoch = in.epoch(), samples = in.samples();
    Tensor out = Tensor::empty(in.images.shape(), in.images.dtype(), device_);
    for_float_type(out.dtype(), "train", [&]<class T>() {
      HASHGRAD_ON(device_, augment(options_.augmentation, options_.seed, epoch.data<int64_t>(), in.batch(),
                                   samples.data<int64_t>(), out.size(1), out.size(2), out.size(3),
                                   in.images.data<T>(), out.data<T>()));
    });
    return out;
  }

  void count(const Tensor& loss, const Tensor& predicted, const Tensor& labels, const Tensor& step) {
    for_float_type(loss.dtype(), "train", [&]<class T>() {
      HASHGRAD_ON(device_,
                  add_step(labels.numel(), loss.data<T>(), predicted.data<int64_t>(), labels.data<int64_t>(),
                           step.data<int64_t>(), reinterpret_cast<cpu::Tally*>(tally_.data())));
    });
  }

  /// Starts the device's counts from those of `state_`.
  void write_tally() {
    const cpu::Tally tally{.loss = state_.loss_sum, .correct = state_.correct};
    memory_of(device_).from_host(tally_.data(), reinterpret_cast<const std::byte*>(&tally), sizeof(tally));
  }

  /// Waits for the steps issued so far and takes over what they counted. An Error if a loss among them was
  /// not finite: whatever is written of a run comes after this.
  void catch_up() {
    cpu::Tally tally;
    memory_of(device_).to_host(reinterpret_cast<std::byte*>(&tally), tally_.data(), sizeof(tally));
    check(tally.bad_step < 0,
          "train: the loss is {} at step {} of epoch {}; a smaller learning rate may help{}", tally.bad_loss,
          tally.bad_step + 1, tally.bad_step / steps_per_epoch() + 1,
          options_.checkpoint.empty() ? "" : " (the checkpoint " + options_.checkpoint + " is kept)");
    state_.loss_sum = tally.loss;
    state_.correct = tally.correct;
    caught_up_ = seconds_in_this_run();
    state_.seconds = earlier_seconds_ + caught_up_;
  }

  /// Of the update number `step`, from 0.
  double learning_rate(int64_t step) const {
    return options_.lr *
           options_.schedule.factor(step, steps_per_round(), options_.epochs * options_.replays);
  }

  /// Updates of one pass over the data, each batch once.
  int64_t steps_per_round() const { return (loader_.batches() - 1) / options_.accumulate + 1; }
  int64_t steps_per_epoch() const { return steps_per_round() * options_.replays; }

  void report() {
    if (!on_cpu() && seconds_in_this_run() - caught_up_ < options_.report_seconds) return;
    catch_up();
    if (!options_.progress) return;
    const double seen = static_cast<double>(state_.seen);
    options_.progress({.epoch = state_.epoch + 1,
                       .epochs = options_.epochs,
                       .step = state_.step,
                       .steps = options_.epochs * steps_per_epoch(),
                       .lr = learning_rate(state_.step - 1),
                       .loss = state_.loss_sum / seen,
                       .accuracy = static_cast<double>(state_.correct) / seen,
                       .images_per_second = static_cast<double>(seen_in_this_run_) / caught_up_});
  }

  void finish_epoch() {
    catch_up();
    const double seen = static_cast<double>(state_.seen);
    state_.loss = state_.loss_sum / seen;
    state_.accuracy = static_cast<double>(state_.correct) / seen;
    const std::string validation = judged();
    state_.log +=
        fmt::format("{},{},{:.6g},{:.6g},{:.6g},{},{:.3f}\n", state_.epoch + 1, state_.step,
                    learning_rate(state_.step - 1), state_.loss, state_.accuracy, validation, state_.seconds);
    ++state_.epoch;
    state_.batch = state_.seen = state_.correct = 0;
    state_.loss_sum = 0;
    write_tally();
  }

  /// The log's "loss,accuracy" of the validation images. Here and in epoch_done the model is what it would be
  /// if the training ended with this epoch.
  std::string judged() {
    if (!options_.validation && !options_.epoch_done) return ",";
    std::string validation = ",";
    lend_average();
    if (options_.validation) {
      const Score e = evaluate(model_, *options_.validation);
      validation = fmt::format("{:.6g},{:.6g}", e.loss, e.accuracy);
    }
    if (options_.epoch_done) options_.epoch_done(state_.epoch + 1);
    take_back_average();
    return validation;
  }

  void lend_average() {
    if (!average_ || state_.step == 0) return;
    average_->lend(state_.step);
    constraints_.project();
  }
  void take_back_average() {
    if (!average_) return;
    average_->take_back();
    constraints_.project();
  }

  TrainParts parts() { return {model_, optimizer_, constraints_, average_ ? &*average_ : nullptr}; }

  /// The checkpoint first: a log row exists only for an epoch that a resumed run will not repeat.
  void save() {
    catch_up();
    if (!options_.checkpoint.empty()) save_checkpoint(options_.checkpoint, parts(), state_);
    if (!options_.log_csv.empty()) write_file(options_.log_csv, log_header + state_.log);
  }

  double seconds_in_this_run() const {
    return std::max(std::chrono::duration<double>(Clock::now() - began_).count(), 1e-9);
  }

  /// Zeros, or what a checkpoint had, where the model is.
  void prepare_carried() {
    if (!options_.heed) return;
    const Shape shape = model_.input_shape().with(0, std::min(options_.batch, loader_.data().size()));
    if (!state_.carried.defined()) state_.carried = Tensor::zeros(shape, model_.dtype());
    check(state_.carried.shape() == shape && state_.carried.dtype() == model_.dtype(),
          "{}: what lessons carry is {} {}, {} {} is expected", options_.resume,
          name_of(state_.carried.dtype()), state_.carried.shape(), name_of(model_.dtype()), shape);
    state_.carried = state_.carried.to(device_);
  }

  bool on_cpu() const { return device_ == Device{}; }

  Model& model_;
  const TrainOptions& options_;
  const Device device_;
  Constraints constraints_;
  Optimizer optimizer_;
  std::optional<WeightAverage> average_;
  Loader loader_;
  TrainState state_;
  Storage tally_;  // cpu::Tally of this epoch
  std::unique_ptr<Pipeline> pipeline_;
  std::map<int64_t, RepeatedStep> repeated_;    // by size of the batch
  double earlier_seconds_ = 0, caught_up_ = 0;  // the latter in this run
  int64_t seen_in_this_run_ = 0;
  Clock::time_point began_ = Clock::now();
};

}  // namespace

TrainResult train(Model& model, const Dataset& data, const TrainOptions& options) {
  check_training(model, data, options);
  return Trainer(model, data, options).run();
}

}  // namespace hashgrad
