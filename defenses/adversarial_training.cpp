#include "defenses/adversarial_training.h"

#include <nlohmann/json.hpp>

#include "attacks/pgd.h"
#include "defenses/record.h"

namespace hashgrad {

AdversarialTraining AdversarialTraining::of(const std::string& method, double eps) {
  check(method == "pgd" || method == "fast", "adversarial-training: '{}' is neither pgd nor fast", method);
  if (method == "fast") return {method, eps, 1.25 * eps, 1};
  return {method, eps, eps / 30, 40};
}

void validate(const AdversarialTraining& recipe) {
  const auto in_box = [](double value, const char* what) {
    check(value > 0 && value <= 1, "adversarial-training: {} = {}, a number in (0, 1] expected", what, value);
  };
  in_box(recipe.eps, "eps");
  in_box(recipe.step, "step");
  check(recipe.iters >= 1 && recipe.iters <= 1000, "adversarial-training: iters = {}, 1 to 1000 expected",
        recipe.iters);
  check(recipe.method != "fast" || recipe.iters == 1, "adversarial-training: fast makes one step, not {}",
        recipe.iters);
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
  options.teach = [&model, recipe, seed = options.seed](Lesson& lesson) {
    lesson.images = adversarial_images(model, recipe, lesson, seed);
  };
}

void record_adversarial_training(Model& model, const AdversarialTraining& recipe) {
  validate(recipe);
  record_defence(model, {{"method", "adversarial-training"},
                         {"attack", recipe.method},
                         {"eps", recipe.eps},
                         {"step", recipe.step},
                         {"iters", recipe.iters}});
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
