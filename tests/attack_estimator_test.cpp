// The robustness estimator: by hand, by finite differences, and in any batch.
#include <cmath>
#include <doctest/doctest.h>

#include "attacks/estimator.h"
#include "autograd/ops/arithmetic.h"
#include "core/storage.h"
#include "defenses/gradient_inhibition.h"
#include "tests/attack_models.h"

using namespace hashgrad;
using namespace hashgrad::testing;

namespace {

/// mean |d z_j / d x_i| by central differences, in float64.
double slope_by_differences(const Model& model, const Tensor& x, double h = 1e-6) {
  const int64_t n = x.size(0), d = x.numel() / n;
  double sum = 0;
  for (int64_t i = 0; i < d; ++i) {
    Tensor up = x.clone(), down = x.clone();
    for (int64_t row = 0; row < n; ++row) {
      up.data<double>()[row * d + i] += h;
      down.data<double>()[row * d + i] -= h;
    }
    const std::vector<double> a = model.logits(up).to_vector<double>(),
                              b = model.logits(down).to_vector<double>();
    for (size_t j = 0; j < a.size(); ++j) sum += std::abs(a[j] - b[j]) / (2 * h);
  }
  return sum / static_cast<double>(n * d * model.classes());
}

}  // namespace

TEST_CASE("estimator: g and phi of a linear network, by hand") {
  // z = (2 a - b, 3 b + 1): slopes 2, 1, 0, 3.
  const Model model = linear_model({2, -1, 0, 3}, {0, 1});
  const Tensor x = Tensor::of(std::vector<double>{0.5, 0, 1, 0.25}, {2, 1, 1, 2});
  const Estimate e = estimate_robustness(Oracle(model), x);
  CHECK(e.g == doctest::Approx(6.0 / 4));
  // Logits (1, 1) and (1.75, 1.75); then of the first image alone with b = 1: (0, 4).
  CHECK(e.phi == doctest::Approx(0));
  const Tensor uneven = Tensor::of(std::vector<double>{0.5, 1, 0.5, 0}, {2, 1, 1, 2});
  CHECK(estimate_robustness(Oracle(model), uneven).phi == doctest::Approx((4.0 + 0) / 2));
  CHECK(robustness({1.5, 2}, 0.5) == doctest::Approx(1.75));
  CHECK(robustness({1.5, 2}, 1) == doctest::Approx(1.5));
  CHECK(robustness({1.5, 2}, 0) == doctest::Approx(2));
}

TEST_CASE("estimator: g is the slope that finite differences find") {
  const Model model = small_net(DType::float64);
  const Tensor x = images(9, model.input_shape(), DType::float64, 4);
  CHECK(estimate_robustness(Oracle(model), x).g ==
        doctest::Approx(slope_by_differences(model, x)).epsilon(1e-6));
}

TEST_CASE("estimator: the Jacobian of a network of many classes is never there as a whole") {
  const Model model("1x16x16 flatten fc100", {.seed = 2});
  const Tensor x = images(64, model.input_shape());
  const int64_t whole = 64 * 100 * 256 * 4, before = memory_count().live;  // bytes
  reset_peak_memory();
  estimate_robustness(Oracle(model, {.batch = 64}), x);
  CHECK(memory_count().peak - before < whole / 4);
}

TEST_CASE("estimator: the batch changes no bit, and a randomised network is its mean") {
  for (const DType dtype : {DType::float32, DType::float64}) {
    const Model model = small_net(dtype);
    const Tensor x = images(13, model.input_shape(), dtype);
    const Estimate whole = estimate_robustness(Oracle(model), x);
    for (const int64_t batch : {1, 5}) {
      const Estimate parts = estimate_robustness(Oracle(model, {.batch = batch}), x);
      CHECK(parts.g == whole.g);
      CHECK(parts.phi == whole.phi);
    }
  }
  Model drawing = small_net(DType::float64);
  gradient_inhibition_3(drawing, 0.5, Redraw::forward, "last:1");
  const Tensor x = images(4, drawing.input_shape(), DType::float64);
  const Estimate two = estimate_robustness(Oracle(drawing, {.draws = {.count = 2}}), x);
  // The last layer is linear in its weights, so the mean of two draws is the network of their mean weights.
  const Model a = realisation(drawing, {.number = 0}), b = realisation(drawing, {.number = 1});
  Model mean = a.clone();
  mean.parameter("6.weight").value().copy_from((a.state().at("6.weight") + b.state().at("6.weight")) * 0.5);
  const Estimate expected = estimate_robustness(Oracle(mean), x);
  CHECK(two.g == doctest::Approx(expected.g).epsilon(1e-10));
  CHECK(two.phi == doctest::Approx(expected.phi).epsilon(1e-10));
}

TEST_CASE("estimator: what it refuses") {
  const Model model = small_net();
  CHECK_ERROR(estimate_robustness(Oracle(model), Tensor::empty({0, 1, 6, 6})), "no images");
  CHECK_ERROR(robustness({}, 1.5), "alpha 1.5, a number in [0,1] expected");
  const Model broken = linear_model({INFINITY, 0, 0, 1}, {0, 0});
  CHECK_ERROR(estimate_robustness(Oracle(broken), Tensor::full({1, 1, 1, 2}, 0.5, DType::float64)),
              "of image 0 are not finite");
}
