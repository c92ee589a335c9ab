// DeepFool: exact on linear models, and step by step like a plain loop over its published rule.
#include <cmath>
#include <doctest/doctest.h>

#include "attacks/deepfool.h"
#include "tests/attack_models.h"

using namespace hashgrad;
using namespace hashgrad::testing;

namespace {

AttackInput one_image(const std::vector<double>& pixels, int64_t label) {
  return {Tensor::of(pixels, {1, 1, 1, static_cast<int64_t>(pixels.size())}), classes({label}), {}, {}};
}

/// The published rule for l2 on one image, all classes candidates: the image it ends at. CleverHans adds 1e-5
/// to every gap, and the overshoot at the end alone.
std::vector<double> plain_deepfool(const Model& model, const AttackInput& input, bool cleverhans) {
  const double slack = cleverhans ? 1e-5 : 0, past = cleverhans ? 0 : 1e-4;
  const std::vector<double> x0 = input.x.to_vector<double>();
  const size_t label = static_cast<size_t>(input.y.data<int64_t>()[0]), n = x0.size();
  std::vector<double> x = x0, r(n);
  const auto place = [&](double overshoot) {
    for (size_t i = 0; i < n; ++i) x[i] = std::min(std::max(x0[i] + (1 + overshoot) * r[i], 0.0), 1.0);
  };
  for (int step = 0; step < 50; ++step) {
    const Tensor at = Tensor::of(x, input.x.shape());
    const std::vector<double> z = Oracle(model).logits(at).to_vector<double>();
    if (std::max_element(z.begin(), z.end()) - z.begin() != static_cast<int64_t>(label)) break;
    const std::vector<double> j = Oracle(model).jacobian(at, Outputs::logits).to_vector<double>();
    double nearest = INFINITY, factor = 0;
    size_t to = 0;
    for (size_t k = 0; k < z.size(); ++k) {
      double square = 0;
      for (size_t i = 0; i < n; ++i) square += std::pow(j[k * n + i] - j[label * n + i], 2);
      const double distance = (std::abs(z[k] - z[label]) + slack) / std::sqrt(square);
      if (k != label && distance < nearest)
        nearest = distance, factor = (distance + past) / std::sqrt(square), to = k;
    }
    for (size_t i = 0; i < n; ++i) r[i] += factor * (j[to * n + i] - j[label * n + i]);
    place(cleverhans ? 0 : 0.02);
  }
  place(0.02);
  return x;
}

}  // namespace

TEST_CASE("deepfool: one step to the boundary of a linear model, and the overshoot past it") {
  const Model model = linear_model({3, 0, 0, 4}, {0.5, 0});  // z_0 - z_1 = 3 x_0 - 4 x_1 + 0.5
  const AttackInput input = one_image({0.5, 0.375}, 0);      // leads by 0.5
  const AttackResult l2 = DeepFool({}).run(model, input);
  CHECK(l2.l2.data<double>()[0] == doctest::Approx(1.02 * (0.5 / 5 + 1e-4)).epsilon(1e-12));
  CHECK(l2.first_success.data<int64_t>()[0] == 1);
  CHECK(l2.forwards.data<int64_t>()[0] == 3);  // clean, and one per look
  CHECK(l2.backwards.data<int64_t>()[0] == 2);
  const AttackResult linf = DeepFool({.norm = Norm::linf}).run(model, input);
  CHECK(linf.linf.data<double>()[0] == doctest::Approx(1.02 * (0.5 / 7 + 1e-4)).epsilon(1e-12));
  const AttackResult late = DeepFool({.cleverhans = true}).run(model, input);
  CHECK(late.l2.data<double>()[0] == doctest::Approx(1.02 * (0.5 + 1e-5) / 5).epsilon(1e-12));
}

TEST_CASE("deepfool: the nearest boundary is that of the smallest distance among the candidates") {
  // Class 1 is the runner-up but its boundary is 0.3 away; that of class 2 is at 0.4 / 4.
  const Model model = linear_model({0, 0, 0, 1, 4, 0}, {1, 0.2, -1.4});
  const AttackInput input = one_image({0.5, 0.5}, 0);
  const auto distance = [&](const DeepFool::Options& options, const AttackInput& of) {
    return DeepFool(options).run(model, of).l2.data<double>()[0];
  };
  CHECK(distance({.candidates = 2}, input) == doctest::Approx(1.02 * (0.3 + 1e-4)).epsilon(1e-9));
  CHECK(distance({.candidates = 3}, input) == doctest::Approx(1.02 * (0.1 + 1e-4)).epsilon(1e-9));
  AttackInput targeted = input;
  targeted.targets = classes({1});
  CHECK(distance({}, targeted) == doctest::Approx(1.02 * (0.3 + 1e-4)).epsilon(1e-9));
}

TEST_CASE("deepfool: on a curved net it goes the way of the published loop") {
  const Model model = small_net(DType::float64);
  const Tensor x = images(12, {1, 6, 6}, DType::float64);
  const AttackInput all{x, own_labels(model, x), {}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}};
  for (const bool cleverhans : {false, true}) {
    const AttackResult r = DeepFool({.cleverhans = cleverhans}).run(model, all);
    int64_t most = 0;
    for (int64_t i = 0; i < 12; ++i) {
      const std::vector<double> plain = plain_deepfool(model, gather(all, {i}), cleverhans);
      const std::vector<double> ours = r.x_adv.slice(0, i, i + 1).to_vector<double>();
      for (size_t j = 0; j < plain.size(); ++j) CHECK(std::abs(plain[j] - ours[j]) < 1e-9);
      most = std::max(most, r.first_success.data<int64_t>()[i]);
    }
    CHECK(most > 1);  // what a step leaves for the next one is compared too
  }
}

TEST_CASE("deepfool: a class with no boundary is passed over, not walked to with another row's normal") {
  // Classes 0 and 1 have the same weights; class 2 can be reached. In the second model nothing can.
  const AttackInput input = one_image({0.5, 0.5}, 0);
  const Model some = linear_model({1, 0, 1, 0, 0, 1}, {0.5, 0.45, 0});
  CHECK(DeepFool({}).run(some, input).l2.data<double>()[0] ==
        doctest::Approx(1.02 * (0.5 / std::sqrt(2) + 1e-4)).epsilon(1e-9));
  const Model none = linear_model({1, 0, 1, 0}, {0.5, 0});
  const AttackResult r = DeepFool({}).run(none, input);
  CHECK(status_of(r, 0) == Status::zero_grad);
  CHECK(identical(r.x_adv, input.x));
}

TEST_CASE("deepfool: a row that stands on the boundary is pushed across it") {
  const Model model = linear_model({1, 0, 0, 1}, {0, 0});
  const AttackResult r = DeepFool({}).run(model, one_image({0.5, 0.5}, 0));  // a tie goes to class 0
  CHECK(status_of(r, 0) == Status::ok);
  CHECK(r.l2.data<double>()[0] == doctest::Approx(1.02 * 1e-4).epsilon(1e-9));
}

TEST_CASE("deepfool: where the box cuts the way, the boundary is crossed by more than rounding") {
  // The first pixel ends at 1. What is left shrinks by a constant factor each step, overshoot or not.
  const Model model = linear_model({0, 0, 3, 2}, {4.5, 0});  // z_0 - z_1 = 4.5 - 3 x_0 - 2 x_1
  const AttackResult r = DeepFool({}).run(model, one_image({0.9, 0.2}, 0));
  CHECK(status_of(r, 0) == Status::ok);
  const std::vector<double> z = Oracle(model).logits(r.x_adv).to_vector<double>();
  CHECK(z[1] - z[0] > 1e-6);
}

TEST_CASE("deepfool: options out of range are refused by name") {
  CHECK(error_of([] { DeepFool({.candidates = 1}); }).find("deepfool: candidates = 1") == 0);
  CHECK(error_of([] { DeepFool({.overshoot = -1}); }).find("deepfool: overshoot = -1") == 0);
  CHECK(error_of([] { DeepFool({.iters = 0}); }).find("deepfool: iters = 0") == 0);
}
