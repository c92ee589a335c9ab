#include <cmath>
#include <doctest/doctest.h>

#include "attacks/statistics.h"
#include "defenses/distillation.h"
#include "nn/model_file.h"
#include "tests/attack_models.h"
#include "tests/train_testing.h"

using namespace hashgrad;
using namespace hashgrad::testing;

namespace {

/// Two images of one pixel, of classes 0 and 1.
Dataset two_pixels() {
  return {"two", Tensor::of<float>({0.25f, 1}, {2, 1, 1, 1}), Tensor::of<int64_t>({0, 1}, {2}), 2, {}};
}

Model pixel_net(const std::vector<double>& weight) { return linear_model(weight, {0, 0}); }

}  // namespace

TEST_CASE("soft labels: softmax of the teacher's logits divided by the temperature") {
  const Model teacher = pixel_net({4, -4});
  const Tensor x = Tensor::of<double>({0.5, 0}, {2, 1, 1, 1});  // logits (2, -2) and (0, 0)
  const std::vector<double> at_8 = soft_labels(teacher, x, 8).to_vector<double>();
  CHECK(at_8[0] == doctest::Approx(std::exp(0.25) / (std::exp(0.25) + std::exp(-0.25))));
  CHECK(at_8[1] == doctest::Approx(1 - at_8[0]));
  CHECK(at_8[2] == 0.5);
}

TEST_CASE("a step of the student: the gradient of the soft cross-entropy at the temperature, by hand") {
  const Model teacher = pixel_net({4, -4});
  Model student = pixel_net({1, 0});
  TrainOptions options{.epochs = 1, .batch = 2, .lr = 8};
  distil_from(teacher, 4, options);
  train(student, two_pixels(), options);
  // dL/dz_k = (softmax(z/T)_k - softmax(teacher/T)_k) / T, mean of both images; dw_k = sum of dz_k x.
  double dw = 0;
  for (const double x : {0.25, 1.0}) {
    const double own = 1 / (1 + std::exp(-x / 4)), taught = 1 / (1 + std::exp(-8 * x / 4));
    dw += (own - taught) / 4 * x / 2;
  }
  const std::vector<double> w = student.parameter("1.weight").value().to_vector<double>();
  CHECK(w[0] == doctest::Approx(1 - 8 * dw).epsilon(1e-12));
  CHECK(w[1] == doctest::Approx(8 * dw).epsilon(1e-12));
  CHECK(student.metadata.at("train.temperature") == "4");
  CHECK(student.metadata.at("train.method") == "distill");
}

TEST_CASE("a checkpoint of a training at another temperature, or taught otherwise, is refused") {
  const TempDir folder;
  Model model = pixel_net({1, 0});
  TrainOptions options{.epochs = 1, .batch = 2, .checkpoint = folder / "checkpoint"};
  train(model, two_pixels(), options);
  options.resume = options.checkpoint;
  options.temperature = 2;
  CHECK_ERROR(train(model, two_pixels(), options), "was made with temperature '1', now it is '2'");
  options.temperature = 1;
  options.method = "distill";
  CHECK_ERROR(train(model, two_pixels(), options), "was made with method 'plain', now it is 'distill'");
}

TEST_CASE("distillation is in the file, and refuses temperatures that are none") {
  Model model = small_net();
  record_distillation(model, 100);
  CHECK(model.metadata.at("defences") == R"([{"method":"distill","temperature":100.0}])");
  const Tensor x = images(2, model.input_shape());
  CHECK(identical(model_from_archive(archive_of(model), "memory").logits(x), model.logits(x)));
  for (const double t : {0.0, 0.5, -1.0, double{NAN}, double{INFINITY}}) {
    CHECK_ERROR(soft_labels(model, x, t), "distill: temperature = ");
    TrainOptions options;
    CHECK_ERROR(distil_from(model, t, options), "distill: temperature = ");
  }
  TrainOptions cold;
  cold.temperature = 0;
  CHECK_ERROR(train(model, two_pixels(), cold), "train: the temperature is 0");
}
