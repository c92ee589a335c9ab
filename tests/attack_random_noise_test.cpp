// Random noise: the best of many draws, whatever the rule, never outside ball or box.
#include <doctest/doctest.h>

#include "attacks/random_noise.h"
#include "tests/attack_models.h"

namespace hashgrad {
namespace {

using testing::error_of;
using Rule = RandomNoise::Rule;

TEST_CASE("random noise returns the first draw that succeeds, else the one nearest to success") {
  const Model model = testing::small_net(DType::float64);
  const Tensor x = testing::images(12, model.input_shape(), DType::float64);
  const AttackInput input{x, testing::own_labels(model, x), {}, {3, 1, 4, 15, 9, 2, 6, 5, 35, 8, 97, 93}};
  const Threat ball{Norm::linf, 0.35};
  const AttackResult r = RandomNoise({.eps = ball.eps, .draws = 6, .seed = 8}).run(model, input);
  int64_t failures = 0;
  for (int64_t row = 0; row < 12; ++row) {
    const AttackInput one = gather(input, {row});
    Tensor kept;
    int64_t first = -1;
    double best = -INFINITY;
    for (uint32_t draw = 0; draw < 6 && first < 0; ++draw) {
      const Tensor noisy = random_start(one.x, ball, 8, one.samples, draw);
      const std::vector<double> z = model.logits(noisy).to_vector<double>();
      const size_t y = static_cast<size_t>(one.y.data<int64_t>()[0]);
      double other = -INFINITY;
      for (size_t k = 0; k < z.size(); ++k)
        if (k != y) other = std::max(other, z[k]);
      if (other > z[y]) first = draw + 1;
      if (other - z[y] > best) best = other - z[y], kept = noisy;
    }
    failures += first < 0;
    CHECK(r.first_success.data<int64_t>()[row] == first);
    CHECK(r.forwards.data<int64_t>()[row] == 1 + (first < 0 ? 6 : first));
    CHECK(identical(r.x_adv.slice(0, row, row + 1).contiguous(), kept));
    CHECK(testing::status_of(r, row) == (first < 0 ? Status::max_iter : Status::ok));
  }
  CHECK(failures > 0);
  CHECK(failures < 12);
}

TEST_CASE("random noise stays in ball and box; gaussian noise fills its sphere") {
  for (const DType dtype : {DType::float32, DType::float64}) {
    const Model model = testing::small_net(dtype);
    const Tensor x = testing::images(20, model.input_shape(), dtype);
    const Tensor grey = Tensor::full(x.shape(), 0.5, dtype);
    for (const Rule rule : {Rule::uniform, Rule::gaussian})
      for (const Norm norm : {Norm::linf, Norm::l2})
        for (const double eps : {0.0, 8.0 / 255, 1.7})  // run() itself checks every row, in float64
          RandomNoise({.rule = rule, .norm = norm, .eps = eps, .draws = 2})
              .run(model, {x, testing::own_labels(model, x), {}, {}});
    const AttackResult sphere =
        RandomNoise({.rule = Rule::gaussian, .norm = Norm::l2, .eps = 0.3, .draws = 1})
            .run(model, {grey, testing::own_labels(model, grey), {}, {}});
    const AttackResult cube = RandomNoise({.rule = Rule::gaussian, .eps = 0.1, .draws = 1})
                                  .run(model, {grey, testing::own_labels(model, grey), {}, {}});
    for (int64_t row = 0; row < 20; ++row) {
      CHECK(sphere.l2.data<double>()[row] == doctest::Approx(0.3).epsilon(1e-6));
      CHECK(cube.linf.data<double>()[row] == doctest::Approx(0.1).epsilon(1e-6));  // some pixel is cut
      CHECK(cube.l1.data<double>()[row] ==
            doctest::Approx(36 * 0.0632).epsilon(0.2));  // E min(|N(0,0.1)|, 0.1)
    }
  }
}

TEST_CASE("random noise leaves alone what is wrong already, and ends where logits are not numbers") {
  Model model("1x1x2 flatten fc1nb relu fc2", {.dtype = DType::float64, .init = Init::zeros});
  model.parameter("1.weight").value().fill(1e308);  // both pixels white: infinite, and times 0 not a number
  model.parameter("3.bias").value().copy_from(Tensor::of<double>({0, 1}, {2}));
  const AttackInput input{Tensor::of<double>({1, 1, 0, 0.5}, {2, 1, 1, 2}), testing::classes({0, 0}), {}, {}};
  const AttackResult r = RandomNoise({.eps = 0.1, .draws = 3}).run(model, input);
  CHECK(identical(r.x_adv, input.x));
  CHECK(testing::status_of(r, 0) == Status::nan);
  CHECK(testing::status_of(r, 1) == Status::already_wrong);
  CHECK(r.forwards.to_vector<int64_t>() == std::vector<int64_t>{1, 1});
}

TEST_CASE("random noise: options out of range are refused by name") {
  CHECK(error_of([] { RandomNoise({.eps = -1}); }).find("random-noise: eps = -1") == 0);
  CHECK(error_of([] { RandomNoise({.draws = 0}); }).find("random-noise: draws = 0") == 0);
  CHECK(error_of([] { parse_noise_rule("normal"); }) ==
        "random-noise: rule 'normal' is neither uniform nor gaussian");
}

}  // namespace
}  // namespace hashgrad
