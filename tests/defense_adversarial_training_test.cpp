#include <algorithm>
#include <cmath>
#include <doctest/doctest.h>

#include "attacks/pgd.h"
#include "autograd/ops/arithmetic.h"
#include "core/archive.h"
#include "core/parallel.h"
#include "datasets/loader.h"
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

TEST_CASE("adversarial training: free is its definition, replay by replay") {
  // Six images in batches of four and two; by hand with trainings of one step, each on one batch as it is
  // attacked.
  Dataset data = synthetic_digits(Split::train, 6, 1);
  data.images = data.images_float(0, 6, DType::float64);
  const double eps = 0.2, step = 0.15;
  Model model("1x28x28 conv3k5s3 relu flatten fc10", {.dtype = DType::float64, .seed = 4});
  Model twin = model.clone();
  TrainOptions options{.epochs = 5, .batch = 4, .optimizer = parse_optimizer("sgd:momentum=0"), .lr = 0.1};
  AdversarialTraining recipe = AdversarialTraining::of("free", eps);
  recipe.step = step;
  recipe.replays = 3;
  train_adversarially(model, recipe, options);
  CHECK(options.epochs == 2);  // 5 / 3, rounded up
  CHECK(train(model, data, options).steps == 2 * 2 * 3);

  const Loader loader(data, {.batch = 4, .seed = options.seed, .augmentation = {}});
  std::vector<double> d(4 * 784);
  int64_t cut = 0;
  for (int64_t epoch = 0; epoch < 2; ++epoch)
    for (int64_t begin = 0; begin < 6; begin += 4) {
      const std::vector<int64_t> order = loader.order(epoch);
      const int64_t end = std::min<int64_t>(begin + 4, 6);
      const std::vector<int64_t> rows(order.begin() + begin, order.begin() + end);
      const Tensor labels = gather(data.labels, rows);
      const std::vector<double> x = gather(data.images, rows).to_vector<double>();
      for (int replay = 0; replay < 3; ++replay) {
        std::vector<double> made(x.size());
        for (size_t i = 0; i < x.size(); ++i) made[i] = std::clamp(x[i] + d[i], 0.0, 1.0);
        const Tensor attacked = Tensor::of(made, {std::ssize(rows), 1, 28, 28});
        const std::vector<double> g =
            Oracle(twin).ascent(attacked, {labels, {}}, "ce").gradient.to_vector<double>();
        train(twin, {"one", attacked, labels, 10, {}},
              {.epochs = 1, .batch = 4, .optimizer = options.optimizer, .lr = 0.1});
        for (size_t i = 0; i < x.size(); ++i) {
          const bool inside = made[i] == x[i] + d[i];
          cut += !inside;
          const double direction = !inside ? 0 : g[i] > 0 ? 1 : g[i] < 0 ? -1 : 0;
          d[i] = std::clamp(d[i] + step * direction, -eps, eps);
        }
      }
    }
  CHECK(cut > 0);
  for (const auto& [name, tensor] : model.state()) {
    const std::vector<double> a = tensor.to_vector<double>(), b = twin.state().at(name).to_vector<double>();
    for (size_t i = 0; i < a.size(); ++i) CHECK(a[i] == doctest::Approx(b[i]).epsilon(1e-9));
  }
}

TEST_CASE("adversarial training: replays do not step past a checkpoint") {
  const TempDir folder;
  Model model("1x28x28 flatten fc10", {.seed = 4});
  TrainOptions options{.epochs = 3, .batch = 4, .lr = 0.1};
  AdversarialTraining recipe = AdversarialTraining::of("free", 0.1);
  recipe.replays = 3;
  train_adversarially(model, recipe, options);
  options.checkpoint = folder / "run.safetensors";
  options.checkpoint_steps = 4;  // of the steps 3, 6, 9, ... the second is the first to have made four
  int64_t saved = -1;
  options.progress = [&](const TrainProgress& p) {
    if (p.step == 9) saved = read_archive(options.checkpoint).tensors.at("train.counts").data<int64_t>()[2];
  };
  train(model, synthetic_digits(Split::train, 16, 1), options);
  CHECK(saved == 6);
}

TEST_CASE("adversarial training: free has 8 replays of steps of eps, on record; schedules count replays") {
  const AdversarialTraining free = AdversarialTraining::of("free", 0.1);
  Model model = small_net();
  record_adversarial_training(model, free);
  CHECK(model.metadata.at("defences") ==
        R"([{"attack":"free","eps":0.1,"iters":1,"method":"adversarial-training","replays":8,"step":0.1}])");
  const TempDir folder;
  Model trained(spec, {.seed = 4});
  TrainOptions options{.epochs = 16, .batch = 32, .lr = 1, .schedule = Schedule("step:8:0.1")};
  options.lr = 0.01;
  options.log_csv = folder / "log.csv";
  train_adversarially(trained, free, options);
  train(trained, digits(), options);
  const std::string log = read_file(options.log_csv);
  CHECK(log.find("\n1,16,0.01,") != std::string::npos);  // two batches, eight times
  CHECK(log.find("\n2,32,0.001,") != std::string::npos);
}

TEST_CASE("adversarial training: free has the same bits on any number of threads, and when resumed") {
  const TempDir folder;
  const auto make = [](Run& run) {
    run.recipe = AdversarialTraining::of("free", 0.1);
    run.recipe.replays = 3;
    run.options.epochs = 6;
  };
  Run whole, other, first, second, plain;
  for (Run* run : {&whole, &other, &first, &second}) make(*run);
  const Model& wanted = whole.trained();
  const int before = threads();
  set_threads(before == 1 ? 3 : 1);
  CHECK(same_bits(other.trained(), wanted));
  set_threads(before);
  first.options.checkpoint = folder / "checkpoint";
  std::atomic<bool> stop{false};
  first.options.stop = &stop;
  first.options.progress = [&](const TrainProgress& p) { stop = p.step == 15; };  // in the second pass
  first.trained();
  second.options.resume = first.options.checkpoint;
  CHECK(same_bits(second.trained(), wanted));
  Archive archive = read_archive(first.options.checkpoint);
  const std::vector<float> carried = archive.tensors.at("train.carried").to_vector<float>();
  CHECK(*std::max_element(carried.begin(), carried.end()) == 0.1f);
  archive.tensors["train.carried"] = Tensor::zeros({2, 1, 28, 28});
  write_archive(first.options.checkpoint, archive);
  Run third;
  make(third);
  third.options.resume = first.options.checkpoint;
  CHECK_ERROR(third.trained(), "what lessons carry is float32 [2,1,28,28], float32 [16,1,28,28] is expected");
}

TEST_CASE("adversarial training: the same bits on any number of threads, and when resumed") {
  const TempDir folder;
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
  add_input_transform(model, "bit-depth", 8);
  const Tensor x = Tensor::zeros({3, 1, 6, 6});
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
  CHECK_ERROR(AdversarialTraining::of("slow", 0.1),
              "adversarial-training: 'slow' is neither pgd nor fast nor free");
  const Model model = small_net();
  for (const AdversarialTraining& recipe :
       std::vector<AdversarialTraining>{{.eps = 0},
                                        {.eps = 1.5},
                                        {.eps = NAN},
                                        {.step = 0},
                                        {.step = -1},
                                        {.iters = 0},
                                        {.method = "fast", .step = 0.1, .iters = 2},
                                        {.method = "free", .step = 0.1, .iters = 2},
                                        {.method = "free", .step = 0.1, .iters = 1, .replays = 0},
                                        {.replays = 2}}) {
    TrainOptions options;
    CHECK_ERROR(train_adversarially(model, recipe, options), "adversarial-training: ");
    CHECK_FALSE(options.teach);
    CHECK_FALSE(options.heed);
  }
}
