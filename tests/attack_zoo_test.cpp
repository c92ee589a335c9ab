// ZOO against the same algorithm with exact gradients, its closed forms, and the defects of its other
// implementations.
#include <cmath>
#include <doctest/doctest.h>

#include "attacks/zoo.h"
#include "tests/attack_models.h"

namespace hashgrad {
namespace {

using testing::error_of;
using Rule = Zoo::Rule;

/// z_0 - z_1 = scale (2 x_0 - 3 x_1).
Model two_classes(double scale = 1, DType dtype = DType::float64) {
  return testing::linear_model({scale, -2 * scale, 0, -scale, scale, 0}, {0, 0}, dtype);
}

AttackInput one_image(const std::vector<double>& pixels, int64_t label, DType dtype = DType::float64) {
  const int64_t n = static_cast<int64_t>(pixels.size());
  return {Tensor::of(pixels, {1, 1, 1, n}).to(dtype), testing::classes({label}), {}, {}};
}

/// The nearest success of `iters` steps on all coordinates of two_classes(), label 0, with exact derivatives.
std::vector<double> by_hand(Rule rule, const std::vector<double>& clean, double c, int64_t iters, double lr) {
  const double w[3] = {2, -3, 0};
  std::vector<double> x = clean, m(3, 0), v(3, 0), nearest = clean;
  double best = INFINITY;
  for (int64_t t = 0;; ++t) {
    double lead = 0, distance = 0;
    for (size_t j = 0; j < 3; ++j) lead += w[j] * x[j], distance += (x[j] - clean[j]) * (x[j] - clean[j]);
    if (lead < 0 && distance < best) best = distance, nearest = x;
    if (t == iters) return nearest;
    for (size_t j = 0; j < 3; ++j) {
      const double g = 2 * (x[j] - clean[j]) + (lead > 0 ? c * w[j] : 0);
      m[j] = 0.9 * m[j] + 0.1 * g, v[j] = 0.999 * v[j] + 0.001 * g * g;
      const double k = static_cast<double>(t + 1);
      const double adam =
          lr * std::sqrt(1 - std::pow(0.999, k)) / (1 - std::pow(0.9, k)) * m[j] / (std::sqrt(v[j]) + 1e-8);
      x[j] = std::min(1.0, std::max(0.0, x[j] - (rule == Rule::adam ? adam : lr * g / 2)));
    }
  }
}

TEST_CASE("zoo takes the steps of the exact algorithm, also at the edge of the box") {
  for (const std::vector<double>& x : {std::vector{0.5, 0.25, 0.5}, std::vector{1.0, 0.0, 0.5}})
    for (const Rule rule : {Rule::adam, Rule::newton, Rule::hybrid}) {
      // A curvature of 2, that of the distance, is positive: hybrid steps as newton does.
      const Zoo zoo({.rule = rule,
                     .on = Outputs::logits,
                     .c0 = 10,
                     .iters = 12,
                     .lr = rule == Rule::adam ? 0.06 : 0.015});
      const AttackResult r = zoo.run(two_classes(), one_image(x, 0));
      const std::vector<double> expected = by_hand(rule, x, 10, 12, rule == Rule::adam ? 0.06 : 0.015);
      REQUIRE(expected != x);
      const std::vector<double> got = r.x_adv.to_vector<double>();
      for (size_t j = 0; j < 3; ++j)
        CHECK(got[j] == doctest::Approx(expected[j]).epsilon(rule == Rule::adam ? 1e-9 : 1e-6));
    }
}

TEST_CASE("zoo on probabilities steps as on logits: log softmax differs from them by a constant") {
  const AttackInput input = one_image({0.5, 0.25, 0.5}, 0);
  const Zoo::Options options{.c0 = 10, .iters = 8, .lr = 0.03};
  Zoo::Options logits = options;
  logits.on = Outputs::logits;
  const std::vector<double> a = Zoo(options).run(two_classes(), input).x_adv.to_vector<double>();
  const std::vector<double> b = Zoo(logits).run(two_classes(), input).x_adv.to_vector<double>();
  REQUIRE(a != input.x.to_vector<double>());
  for (size_t j = 0; j < 3; ++j) CHECK(a[j] == doctest::Approx(b[j]).epsilon(1e-9));
}

TEST_CASE("zoo finds the distance to a hyperplane, targeted and untargeted, in both element types") {
  for (const DType dtype : {DType::float32, DType::float64})
    for (const bool targeted : {false, true}) {
      AttackInput input = one_image({0.5, 0.25, 0.5}, 0, dtype);
      if (targeted) input.targets = testing::classes({1});
      for (const Rule rule : {Rule::adam, Rule::hybrid}) {
        const Zoo zoo({.rule = rule,
                       .on = Outputs::logits,
                       .c0 = 0.01,
                       .c_steps = 9,
                       .iters = 200,
                       .lr = rule == Rule::adam ? 0.002 : 0.2});
        const AttackResult r = zoo.run(two_classes(1, dtype), input);
        REQUIRE(testing::status_of(r, 0) == Status::ok);
        CHECK(r.l2.data<double>()[0] >= 0.25 / std::sqrt(13) - 1e-6);
        CHECK(r.l2.data<double>()[0] == doctest::Approx(0.25 / std::sqrt(13)).epsilon(0.01));
      }
    }
}

TEST_CASE("zoo with kappa returns images that lead by kappa") {
  const Model model = two_classes();
  const AttackResult r = Zoo({.on = Outputs::logits, .kappa = 0.3, .c0 = 10, .iters = 60})
                             .run(model, one_image({0.5, 0.25, 0.5}, 0));
  REQUIRE(testing::status_of(r, 0) == Status::ok);
  const std::vector<double> z = model.logits(r.x_adv).to_vector<double>();
  CHECK(z[1] - z[0] >= 0.3);
  CHECK(z[1] - z[0] < 0.5);
}

TEST_CASE("zoo: ART adds the accumulated noise again in every step; one step is lr here, two are two") {
  // Far from the boundary the gradient is constant, so that each Adam step has length lr.
  const AttackInput input = one_image({0.5, 0.25, 0.5}, 0);
  for (const int64_t steps : {1, 2}) {
    const AttackResult r =
        Zoo({.on = Outputs::logits, .c0 = 1e6, .iters = steps, .lr = steps == 1 ? 0.06 : 0.03})
            .run(two_classes(), input);
    const std::vector<double> x = r.x_adv.to_vector<double>();
    CHECK(x[0] == doctest::Approx(0.44).epsilon(1e-4));
    CHECK(x[1] == doctest::Approx(0.31).epsilon(1e-4));
    CHECK(x[2] == 0.5);
  }
}

TEST_CASE(
    "zoo: published scores stand still where the softmax saturates, and that is reported; logits do not") {
  const Model model = two_classes(1000, DType::float32);
  const AttackInput input = one_image({0.5, 0.25, 0.5}, 0, DType::float32);
  const AttackResult published = Zoo({.iters = 50}).run(model, input);
  CHECK(testing::status_of(published, 0) == Status::zero_grad);
  CHECK(identical(published.x_adv, input.x));
  const AttackResult logits = Zoo({.on = Outputs::logits, .iters = 50}).run(model, input);
  CHECK(testing::status_of(logits, 0) == Status::ok);
}

TEST_CASE("zoo: the original never refreshes its importance; here coordinates near a change are preferred") {
  std::vector<double> weight(2 * 256, 0);
  for (const size_t j : {34, 35, 50, 51}) weight[j] = 1;  // a tile of 2 x 2
  Model model("1x16x16 flatten fc2", {.dtype = DType::float64, .init = Init::zeros});
  model.parameter("1.weight").value().copy_from(Tensor::of(weight, {2, 256}));
  model.parameter("1.bias").value().copy_from(Tensor::of<double>({0, 1}, {2}));
  const Tensor x = Tensor::full({3, 1, 16, 16}, 0.5, DType::float64);
  const AttackInput input{x, testing::classes(std::vector<int64_t>(3, 0)), {}, {}};
  const auto steps = [&](bool importance) {
    const AttackResult r = Zoo({.on = Outputs::logits,
                                .c0 = 10,
                                .iters = 2000,
                                .coordinates = 4,
                                .lr = 0.05,
                                .importance = importance})
                               .run(model, input);
    int64_t sum = 0;
    for (const int64_t first : r.first_success.to_vector<int64_t>()) {
      REQUIRE(first > 0);
      sum += first;
    }
    return sum;
  };
  CHECK(3 * steps(true) < steps(false));
}

TEST_CASE("zoo counts every question it asks") {
  // Two steps on 2 of 3 coordinates, then the last image is judged; and one pass for the clean image.
  const AttackResult r = Zoo({.on = Outputs::logits, .iters = 2, .coordinates = 2, .lr = 1e-3})
                             .run(two_classes(), one_image({0.5, 0.25, 0.5}, 0));
  CHECK(r.forwards.data<int64_t>()[0] == 1 + 2 * (1 + 2 * 2) + 1);
  CHECK(r.backwards.data<int64_t>()[0] == 0);
  CHECK(testing::status_of(r, 0) == Status::max_iter);
  CHECK(r.l2.data<double>()[0] == 0);  // without success a row stays where it is
}

TEST_CASE("zoo ends rows that are wrong, not numbers, or flat") {
  const Model overflowing = testing::linear_model({1e308, 1e308, 0, 0, 0, 1}, {0, 0});
  const AttackInput input{
      Tensor::of<double>({1, 1, 0, 0, 0, 0.5}, {2, 1, 1, 3}), testing::classes({0, 0}), {}, {}};
  const AttackResult r = Zoo({.iters = 3}).run(overflowing, input);
  CHECK(testing::status_of(r, 0) == Status::nan);
  CHECK(testing::status_of(r, 1) == Status::already_wrong);
  const AttackResult probes =
      Zoo({.on = Outputs::logits, .iters = 3, .h = 0.5})
          .run(overflowing, one_image({0.8, 0.8, 0}, 0));  // finite, its probes are not
  CHECK(testing::status_of(probes, 0) == Status::nan);
  const AttackResult flat =
      Zoo({.c_steps = 5, .iters = 100}).run(two_classes(0), one_image({0.5, 0.25, 0.5}, 0));
  CHECK(testing::status_of(flat, 0) == Status::zero_grad);
  CHECK(flat.forwards.data<int64_t>()[0] < 100);
}

TEST_CASE("zoo: ART's profile is its defaults") {
  CHECK(make_attack("zoo:compat=art,lr=0.1")->repr() ==
        Zoo({.on = Outputs::logits, .c0 = 1e-3, .iters = 10, .lr = 0.1}).repr());
}

TEST_CASE("zoo: options out of range are refused by name") {
  CHECK(error_of([] { Zoo({.kappa = -1}); }).find("zoo: kappa = -1") == 0);
  CHECK(error_of([] { Zoo({.c0 = 0}); }).find("zoo: c0 = 0") == 0);
  CHECK(error_of([] { Zoo({.c_steps = 0}); }).find("zoo: c-steps = 0") == 0);
  CHECK(error_of([] { Zoo({.iters = 0}); }).find("zoo: iters = 0") == 0);
  CHECK(error_of([] { Zoo({.coordinates = 0}); }).find("zoo: coordinates = 0") == 0);
  CHECK(error_of([] { Zoo({.lr = NAN}); }).find("zoo: lr = nan") == 0);
  CHECK(error_of([] { Zoo({.h = 1e-9}); }).find("zoo: h = 1e-09") == 0);
  CHECK(error_of([] { parse_zoo_rule("sgd"); }) == "zoo: rule 'sgd' is none of adam, newton, hybrid");
}

TEST_CASE("zoo: Adam starts afresh with each c, so that the first step of each has length lr") {
  // The first c succeeds, so that the second is half of it. With the memory of the first gradient its step
  // would be 0.93 lr, and succeed as well.
  const AttackResult r = Zoo({.on = Outputs::logits, .c0 = 1e6, .c_steps = 2, .iters = 1, .lr = 0.08})
                             .run(two_classes(), one_image({0.5, 0.25, 0.5}, 0));
  CHECK(r.linf.data<double>()[0] == doctest::Approx(0.08).epsilon(1e-6));
}

TEST_CASE("zoo: the next c draws other coordinates") {
  // Two pixels of which one does too little, and one draw for each c: eight draws miss it in one row of 256.
  const Model model = testing::linear_model({1, 0.01, 0, 0}, {0, 0.455});
  const int64_t rows = 24;
  const AttackInput input{Tensor::full({rows, 1, 1, 2}, 0.5, DType::float64),
                          testing::classes(std::vector<int64_t>(rows, 0)),
                          {},
                          {}};
  const AttackResult r =
      Zoo({.on = Outputs::logits, .c0 = 1, .c_steps = 8, .iters = 1, .coordinates = 1, .lr = 0.1})
          .run(model, input);
  int64_t hits = 0;
  for (const uint8_t success : r.success.to_vector<uint8_t>()) hits += success;
  CHECK(hits >= rows - 1);
}

TEST_CASE("zoo: newton takes a negative curvature for 1") {
  // The lead of class 0 is 0.05 - max(0, x - 0.5): at 0.5 the probes see a slope of -1/2 and a bend, c times
  // which outweighs the distance's 2. So the step is lr c / 2 = 0.1.
  Model model("1x1x1 flatten fc1 relu fc2", {.dtype = DType::float64, .init = Init::zeros});
  model.parameter("1.weight").value().fill(1);
  model.parameter("1.bias").value().fill(-0.5);
  model.parameter("3.weight").value().copy_from(Tensor::of<double>({0, 1}, {2, 1}));
  model.parameter("3.bias").value().copy_from(Tensor::of<double>({0.05, 0}, {2}));
  const AttackResult r = Zoo({.rule = Rule::newton, .on = Outputs::logits, .c0 = 1, .iters = 1, .lr = 0.2})
                             .run(model, one_image({0.5}, 0));
  CHECK(r.x_adv.data<double>()[0] == doctest::Approx(0.6).epsilon(1e-6));
}

TEST_CASE("zoo: with importance every coordinate may be drawn, before anything has changed and after") {
  // The first pixel moves and does not help, the second is all that is needed; each is a tile of its own.
  const Model model = testing::linear_model({0.01, 1, 0, 0}, {0, 0.455});
  const int64_t rows = 16;
  const AttackInput input{Tensor::full({rows, 1, 1, 2}, 0.5, DType::float64),
                          testing::classes(std::vector<int64_t>(rows, 0)),
                          {},
                          {}};
  const AttackResult r =
      Zoo({.on = Outputs::logits, .c0 = 10, .iters = 5000, .coordinates = 1, .lr = 0.1, .importance = true})
          .run(model, input);
  int64_t at_once = 0, later = 0;
  for (const int64_t first : r.first_success.to_vector<int64_t>()) {
    at_once += first == 1;
    later += first > 1;  // the first pixel has changed, the second has a hundredth of its weight
  }
  CHECK(at_once > 2);
  CHECK(later > 2);
  CHECK(at_once + later == rows);
}

}  // namespace
}  // namespace hashgrad
