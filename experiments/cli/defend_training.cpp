// The defences of `hashgrad defend` that are trainings: distillation, adversarial training, hash classifiers.
#include <cstdio>
#include <filesystem>

#include "defenses/adversarial_training.h"
#include "defenses/distillation.h"
#include "defenses/hash_classifier.h"
#include "experiments/cli/defend.h"
#include "experiments/try_print.h"
#include "nn/model_file.h"

namespace hashgrad::cli {
namespace {

bool is_file(const DefendVerb& v) { return std::filesystem::exists(v.model); }

AdversarialTraining recipe_of(const DefendVerb& v) {
  AdversarialTraining recipe = AdversarialTraining::of(v.adversary, v.eps);
  if (v.step >= 0) recipe.step = v.step;
  if (v.iters > 0) recipe.iters = v.iters;
  if (v.replays > 0) recipe.replays = v.replays;
  or_usage([&] { validate(recipe); });
  return recipe;
}

/// Prints after every epoch what the robust accuracy comes to, and warns when it has fallen apart: by 20
/// points, where Wong, Rice and Kolter stop.
std::function<void(int64_t)> watch_robustness(const DefendVerb& v, const Model& model, double eps) {
  const int64_t most = v.watch >= 0 ? v.watch : has_test_images(v.data) ? 200 : 0;
  if (most == 0) return {};
  const Dataset test = load_test(v.data, "--watch");
  const Dataset images = test.first(std::min(most, test.size()));
  return [&model, images, eps, best = 0.0](int64_t epoch) mutable {
    const double clean = evaluate(model, images).accuracy, robust = pgd_accuracy(model, images, eps);
    try_print(stdout, "epoch {}: clean {:.2f} %, pgd-20 {:.2f} % of {} test images\n", epoch, 100 * clean,
              100 * robust, images.size());
    if (robust < best - 0.2)
      try_print(stdout, "warning: {:.2f} % before: catastrophic overfitting\n", 100 * best);
    std::fflush(stdout);
    best = std::max(best, robust);
  };
}

}  // namespace

Model start_of(const DefendVerb& v) {
  if (is_file(v)) return load_model(v.model).to(v.common.type()).to(v.common.where());
  try {
    return Model(v.model, {.dtype = v.common.type(), .seed = v.common.seed}).to(v.common.where());
  } catch (const Error& error) {
    fail("{}: is no file, and no network either: {}", v.model, error.what());
  }
}

void distil(Model& model, const DefendVerb& v) {
  if (!v.training.checkpoint.empty())
    usage("--checkpoint: does not apply to distill, whose stages have files of their own");
  record_distillation(model, v.temperature);  // first: twice is an error, and better before hours than after
  TrainingFlags student = v.training, teacher_alone = v.training;
  student.resume = resume_of_last(v.training, v.output);
  teacher_alone.log = "";  // the earlier stages have logs of their own
  if (!is_file(v)) {
    TrainingFlags once = teacher_alone;
    once.epochs = 1;
    run_stage(model, v.data, once, v.common, v.output + ".start");
  }
  Model teacher = model.clone();
  run_stage(teacher, v.data, teacher_alone, v.common, v.output + ".teacher",
            [&](TrainOptions& options) { options.temperature = v.temperature; });
  run_training(model, v.data, student, v.common, v.output,
               [&](TrainOptions& options) { distil_from(teacher, v.temperature, options); });
  fmt::print("{}: distilled at temperature {}, {} epochs\n", v.output, v.temperature, v.training.epochs);
}

void install_hash_classifier(Model& model, const DefendVerb& v) {
  HashClassifier options{.hash = v.hash.options(), .seed = v.common.seed};
  if (!v.rate.empty()) options.rates = parse_rates(v.rate);
  model = hash_classifier(model.to(Device{}), options).to(model.device());
  TrainingFlags flags = v.training;
  if (flags.hashed_gradient.empty()) flags.hashed_gradient = "mean";
  const TrainResult result = run_training(model, v.data, flags, v.common, v.output);
  fmt::print("{}: {} parameters, {} epochs{}, {:.1f} s\n", v.output, model.parameter_count(), result.epochs,
             last_epoch(result), result.seconds);
}

void train_against_attacks(Model& model, const DefendVerb& v) {
  const AdversarialTraining recipe = recipe_of(v);
  record_adversarial_training(model, recipe);  // before, so that checkpoints have it
  const auto watch = watch_robustness(v, model, recipe.eps);
  const TrainResult result =
      run_training(model, v.data, v.training, v.common, v.output, [&](TrainOptions& options) {
        train_adversarially(model, recipe, options);
        options.epoch_done = watch;
      });
  const std::string accuracy =
      result.epochs == 0 ? ""
                         : fmt::format(", accuracy {:.2f} % on the images trained on", 100 * result.accuracy);
  fmt::print("{}: {} adversarial training, eps {}, {} epochs{}, {:.1f} s\n", v.output, recipe.method,
             recipe.eps, result.epochs * recipe.replays, accuracy, result.seconds);
}

}  // namespace hashgrad::cli
