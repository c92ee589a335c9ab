#include "nn/train_checks.h"

#include <cmath>

#include "cpu/loss.h"
#include "datasets/digest.h"
#include "nn/randomised.h"

namespace hashgrad {
namespace {

void check_options(const Model& model, const TrainOptions& o) {
  const auto positive = [](double value, const char* what) {
    check(value > 0 && std::isfinite(value), "train: {} is {}, a number above 0 is expected", what, value);
  };
  check(o.epochs >= 0 && o.epochs <= 1'000'000, "train: epochs is {}, 0 to 1000000 is accepted", o.epochs);
  check(o.replays >= 1 && o.replays <= 1000, "train: replays is {}, 1 to 1000 is accepted", o.replays);
  check(o.batch >= 1, "train: batch is {}, at least 1 is accepted", o.batch);
  check(o.accumulate >= 1, "train: accumulate is {}, at least 1 is accepted", o.accumulate);
  check(o.accumulate == 1 || o.replays == 1, "train: batches that are replayed cannot be accumulated");
  check(o.ema >= 0 && o.ema < 1,
        "train: the decay of the weights' average is {}, at least 0 and below 1 is accepted", o.ema);
  check(o.checkpoint_steps >= 0, "train: checkpoint_steps is {}, 0 or more is accepted", o.checkpoint_steps);
  check(o.label_smoothing >= 0 && o.label_smoothing < 1,
        "train: label smoothing is {}, at least 0 and below 1 is accepted", o.label_smoothing);
  check(o.math == Math::fp32 || model.dtype() == DType::float32,
        "train: math {} is for float32 networks, this one is {}", name_of(o.math), name_of(model.dtype()));
  check(o.math == Math::fp32 || o.math == Math::bf16 || model.device() == Device{},
        "train: math {} is the CPU's alone, this network is on {}", name_of(o.math),
        to_string(model.device()));
  positive(o.lr, "the learning rate");
  positive(o.temperature, "the temperature");
  check(o.report_seconds >= 0, "train: report_seconds is {}, 0 or more is accepted", o.report_seconds);
  positive(o.hashed_lr, "the factor on the learning rate of hashed layers");
}

void check_labels(const Dataset& data, int64_t classes) {
  const Tensor labels = data.labels.contiguous();
  int64_t bad = 0;
  cpu::find_bad_label(data.size(), classes, labels.data<int64_t>(), &bad);
  check(bad == data.size(), "{}: the label of sample {} is {}, not in [0,{})", data.name, bad,
        bad == data.size() ? 0 : labels.data<int64_t>()[bad], classes);
}

/// Batch norm takes its statistics over images and pixels, and needs two values of each channel. Behind a
/// fully connected layer it has one per image, so no batch may be of one image, nor the last of an epoch.
void check_last_batch(const Model& model, int64_t images, int64_t batch) {
  const int64_t last = (images - 1) % batch + 1;
  for (size_t i = 0; i < model.spec().layers.size(); ++i) {
    const Shape& one = model.shapes()[i];  // [C,H,W] or [C]
    check(model.spec().layers[i].kind != LayerSpec::Kind::bn || last * one.numel() >= 2 * one[0],
          "train: {} images in batches of {} leave a last batch of one, too few for the batch norm of layer "
          "{}; choose another batch or number of images",
          images, batch, i);
  }
}

}  // namespace

void check_training(const Model& model, const Dataset& data, const TrainOptions& options) {
  check_options(model, options);
  check(!randomised(model),
        "train: the model's defence draws random numbers at every answer; train first, then defend");
  check_fits(model, data);
  check_labels(data, model.classes());
  if (options.epochs > 0) check_last_batch(model, data.size(), options.batch);
  if (options.validation) check_fits(model, *options.validation);
}

TrainSettings settings_of(const Model& model, const Dataset& data, const TrainOptions& o) {
  return {{"data", data.name},
          {"samples", std::to_string(data.size())},
          {"data_digest", digest_of(data)},
          {"start", o.start},
          {"dtype", name_of(model.dtype())},
          {"math", name_of(o.math)},
          {"epochs", std::to_string(o.epochs)},
          {"batch", std::to_string(o.batch)},
          {"accumulate", std::to_string(o.accumulate)},
          {"optimizer", to_string(o.optimizer)},
          {"lr", fmt::format("{}", o.lr)},
          {"schedule", o.schedule.text()},
          {"hashed_lr", fmt::format("{}", o.hashed_lr)},
          {"hashed_gradient", o.hashed_gradient == HashedGradient::sum ? "sum" : "mean"},
          {"rounding", o.rounding == Rounding::nearest ? "nearest" : "stochastic"},
          {"label_smoothing", fmt::format("{}", o.label_smoothing)},
          {"temperature", fmt::format("{}", o.temperature)},
          {"ema", fmt::format("{}", o.ema)},
          {"method", o.method},
          {"replays", std::to_string(o.replays)},
          {"augment", to_string(o.augmentation)},
          {"seed", std::to_string(o.seed)}};
}

}  // namespace hashgrad
