#include <algorithm>
#include <cmath>
#include <doctest/doctest.h>

#include "attacks/pgd.h"
#include "core/parallel.h"
#include "datasets/synthetic_digits.h"
#include "defenses/adversarial_training.h"
#include "defenses/input_transforms.h"
#include "nn/model_file.h"
#include "tests/attack_models.h"
#include "tests/train_testing.h"

using namespace hashgrad;
using namespace hashgrad::testing;

namespace {

const char* const spec = "1x28x28 conv4k5s2 bn relu maxpool2 flatten dropout0.25 fc10";

const Dataset& digits() {
  static const Dataset data = synthetic_digits(Split::train, 60, 1);
  return data;
}

Lesson lesson_of(const Tensor& x, const Tensor& y, const std::vector<int64_t>& samples, int64_t step) {
  return {x, {}, y, classes(samples), step};
}

struct Run {
  Model model{spec, {.seed = 4}};
  TrainOptions options{.epochs = 2, .batch = 16, .lr = 0.03};
  AdversarialTraining recipe = AdversarialTraining::of("pgd", 0.1);

  Run() {
    recipe.iters = 2;
    options.augmentation.shift = 1;
  }
  const Model& trained() {
    train_adversarially(model, recipe, options);
    train(model, digits(), options);
    return model;
  }
};

}  // namespace

TEST_CASE("adversarial training: a step learns from what pgd makes of its images") {
  const Model model = small_net();
  const Tensor x = images(12, model.input_shape());
  Tensor y = own_labels(model, x);
  y.data<int64_t>()[3] = (y.data<int64_t>()[3] + 1) % 5;  // wrong already: moved all the same
  const std::vector<int64_t> samples{7, 3, 11, 5, 0, 2, 30, 9, 40, 41, 42, 43};
  for (const char* method : {"pgd", "fast"}) {
    AdversarialTraining recipe = AdversarialTraining::of(method, 0.2);
    if (recipe.method == "pgd") recipe.iters = 5;
    const Tensor made = adversarial_images(model, recipe, lesson_of(x, y, samples, 0), 6);
    if (recipe.method == "pgd") {
      const Pgd pgd({.eps = 0.2, .step = recipe.step, .iters = recipe.iters, .early_stop = false, .seed = 6});
      CHECK(identical(made, pgd.run(model, {x, y, {}, samples}).x_adv));
    } else {  // from a point that the box has not cut
      const Threat ball{Norm::linf, 0.2};
      const Tensor start = ball_point(x, ball, 6, samples, 0);
      const std::vector<float> pixels = start.to_vector<float>();
      CHECK(*std::min_element(pixels.begin(), pixels.end()) < 0);
      const Tensor gradient = Oracle(model).ascent(start, {y, {}}, "ce").gradient;
      CHECK(identical(made, ascend(start, recipe.step, gradient, x, ball)));
    }
    CHECK_FALSE(identical(made, adversarial_images(model, recipe, lesson_of(x, y, samples, 1), 6)));
    const Tensor alone =
        adversarial_images(model, recipe, lesson_of(gather(x, {4}), gather(y, {4}), {samples[4]}, 0), 6);
    CHECK(identical(alone, gather(made, {4})));
  }
}

TEST_CASE("adversarial training: the recipes") {
  const AdversarialTraining pgd = AdversarialTraining::of("pgd", 0.3),
                            fast = AdversarialTraining::of("fast", 0.3);
  CHECK(pgd.step == doctest::Approx(0.01));
  CHECK(pgd.iters == 40);
  CHECK(fast.step == doctest::Approx(0.375));
  CHECK(fast.iters == 1);
  Model model = small_net();
  record_adversarial_training(model, fast);
  CHECK(model.metadata.at("defences") ==
        R"([{"attack":"fast","eps":0.3,"iters":1,"method":"adversarial-training","step":0.375}])");
  const Tensor x = images(2, model.input_shape());
  CHECK(identical(model_from_archive(archive_of(model), "memory").logits(x), model.logits(x)));
}

TEST_CASE("adversarial training: the same bits on any number of threads, and when resumed") {
  const Folder folder;
  Run whole;
  const Model& wanted = whole.trained();
  {
    const int before = threads();
    set_threads(before == 1 ? 3 : 1);
    Run other;
    CHECK(same_bits(other.trained(), wanted));
    set_threads(before);
  }
  Run first, second;
  first.options.checkpoint = folder / "checkpoint";
  std::atomic<bool> stop{false};
  first.options.stop = &stop;
  first.options.progress = [&](const TrainProgress& p) { stop = p.step == 5; };  // in the second epoch
  first.trained();
  second.options.resume = first.options.checkpoint;
  CHECK(same_bits(second.trained(), wanted));
  Run plain, weaker;
  train(plain.model, digits(), plain.options);
  CHECK_FALSE(same_bits(plain.model, wanted));
  weaker.recipe.eps = 0.05;
  weaker.options.resume = first.options.checkpoint;
  CHECK_ERROR(weaker.trained(), "was made with method 'adversarial:pgd,eps=0.1");
}

TEST_CASE("adversarial training: the attack sees the model as it is used, and leaves no trace in it") {
  Run run;
  const Tensor before = run.model.state().at("1.running_mean").clone();
  const Tensor x = digits().images_float(0, 4), y = digits().labels_of(0, 4);
  adversarial_images(run.model, run.recipe, lesson_of(x, y, {0, 1, 2, 3}, 0), 1);
  CHECK(identical(run.model.state().at("1.running_mean"), before));
  for (const Parameter& p : run.model.parameters()) CHECK_FALSE(p.variable->grad().defined());
}

TEST_CASE("adversarial training: input transforms are differentiated past") {
  Model model = small_net();
  const Model plain = model.clone();
  add_input_transform(model, "bit-depth", 8);
  Tensor x = Tensor::zeros({3, 1, 6, 6});
  const Tensor y = classes({0, 1, 2});
  const AdversarialTraining recipe = AdversarialTraining::of("fast", 0.2);
  const Tensor made = adversarial_images(model, recipe, lesson_of(x, y, {0, 1, 2}, 0), 1);
  const Tensor start = random_start(x, {Norm::linf, 0.2}, 1, {0, 1, 2}, 0);
  CHECK_FALSE(identical(made, start));  // as it would be along a gradient of zero
}

TEST_CASE("pgd accuracy: what is left of a set of images") {
  // Class 1 is a bright pixel: 0.9 withstands 0.3, 0.6 does not.
  const Model model = linear_model({-8, 8}, {4, -4}, DType::float32);
  const Dataset data{"d",
                     Tensor::of<float>({0.9f, 0.6f, 0.1f, 0.95f}, {4, 1, 1, 1}),
                     Tensor::of<int64_t>({1, 1, 0, 0}, {4}),
                     2,
                     {}};
  CHECK(pgd_accuracy(model, data, 0.3) == 0.5);  // the last is wrong from the start
}

TEST_CASE("adversarial training refuses what is no recipe") {
  CHECK_ERROR(AdversarialTraining::of("slow", 0.1), "adversarial-training: 'slow' is neither pgd nor fast");
  const Model model = small_net();
  for (const AdversarialTraining& recipe :
       std::vector<AdversarialTraining>{{.eps = 0},
                                        {.eps = 1.5},
                                        {.eps = NAN},
                                        {.step = 0},
                                        {.step = -1},
                                        {.iters = 0},
                                        {.method = "fast", .step = 0.1, .iters = 2}}) {
    TrainOptions options;
    CHECK_ERROR(train_adversarially(model, recipe, options), "adversarial-training: ");
    CHECK_FALSE(options.teach);
  }
}
