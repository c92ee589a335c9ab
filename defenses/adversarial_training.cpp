#include "defenses/adversarial_training.h"

#include <memory>
#include <nlohmann/json.hpp>

#include "attacks/pgd.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/pointwise.h"
#include "defenses/record.h"

namespace hashgrad {
namespace {

/// The gradient with respect to d at clip(x + d): 0 where the box cut `moved` = x + d.
Tensor behind_clip(const Tensor& gradient, const Tensor& moved) {
  return gradient * (1.0 - square(sign(clip(moved) - moved)));
}

void train_free(const AdversarialTraining& recipe, TrainOptions& options) {
  options.epochs = (options.epochs + recipe.replays - 1) / recipe.replays;
  options.replays = recipe.replays;
  const auto moved = std::make_shared<Tensor>();  // from teach to heed within a step
  options.teach = [moved](Lesson& lesson) {
    *moved = lesson.images + lesson.carried;
    lesson.images = clip(*moved);
  };
  options.heed = [moved, recipe](const Lesson& lesson, const Tensor& gradient) {
    const Tensor d = lesson.carried + recipe.step * sign(behind_clip(gradient, *moved));
    Tensor(lesson.carried).copy_from(clamp(d, -recipe.eps, recipe.eps));
  };
}

}  // namespace

AdversarialTraining AdversarialTraining::of(const std::string& method, double eps) {
  check(method == "pgd" || method == "fast" || method == "free",
        "adversarial-training: '{}' is neither pgd nor fast nor free", method);
  if (method == "fast") return {method, eps, 1.25 * eps, 1};
  if (method == "free") return {method, eps, eps, 1, 8};
  return {method, eps, eps / 30, 40};
}

void validate(const AdversarialTraining& recipe) {
  const auto in_box = [](double value, const char* what) {
    check(value > 0 && value <= 1, "adversarial-training: {} = {}, a number in (0, 1] expected", what, value);
  };
  in_box(recipe.eps, "eps");
  in_box(recipe.step, "step");
  const auto count = [](int64_t value, const char* what) {
    check(value >= 1 && value <= 1000, "adversarial-training: {} = {}, 1 to 1000 expected", what, value);
  };
  count(recipe.iters, "iters");
  count(recipe.replays, "replays");
  check(recipe.method == "pgd" || recipe.iters == 1, "adversarial-training: {} makes one step, not {}",
        recipe.method, recipe.iters);
  check(recipe.method == "free" || recipe.replays == 1, "adversarial-training: {} has no replays",
        recipe.method);
}

Tensor adversarial_images(const Model& model, const AdversarialTraining& recipe, const Lesson& lesson,
                          uint64_t seed) {
  const Threat ball{Norm::linf, recipe.eps};
  const Oracle oracle(model, {.batch = lesson.images.size(0), .stand_ins = !model.transforms().empty()});
  const Goal goal{lesson.labels.to(Device{}), {}};
  const auto start = recipe.method == "fast" ? ball_point : random_start;
  Tensor x = start(lesson.images, ball, seed, lesson.samples.to_vector<int64_t>(),
                   static_cast<uint32_t>(lesson.step));
  for (int64_t i = 0; i < recipe.iters; ++i)
    x = ascend(x, recipe.step, oracle.ascent(x, goal, "ce").gradient, lesson.images, ball);
  return x;
}

void train_adversarially(const Model& model, const AdversarialTraining& recipe, TrainOptions& options) {
  validate(recipe);
  options.method = fmt::format("adversarial:{},eps={},step={},iters={}", recipe.method, recipe.eps,
                               recipe.step, recipe.iters);
  if (recipe.method == "free") return train_free(recipe, options);
  options.teach = [&model, recipe, seed = options.seed](Lesson& lesson) {
    lesson.images = adversarial_images(model, recipe, lesson, seed);
  };
}

void record_adversarial_training(Model& model, const AdversarialTraining& recipe) {
  validate(recipe);
  nlohmann::json entry{{"method", "adversarial-training"},
                       {"attack", recipe.method},
                       {"eps", recipe.eps},
                       {"step", recipe.step},
                       {"iters", recipe.iters}};
  if (recipe.method == "free") entry["replays"] = recipe.replays;
  record_defence(model, entry);
}

double pgd_accuracy(const Model& model, const Dataset& images, double eps) {
  const AttackInput input{images.images_float(0, images.size(), model.dtype()), images.labels, {}, {}};
  const AttackResult made =
      Pgd({.eps = eps, .iters = 20}).run(model, input, {.stand_ins = !model.transforms().empty()});
  int64_t broken = 0;
  for (const uint8_t success : made.success.to_vector<uint8_t>()) broken += success;
  return 1 - static_cast<double>(broken) / static_cast<double>(images.size());
}

}  // namespace hashgrad
