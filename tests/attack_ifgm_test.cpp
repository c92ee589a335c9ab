// I-FGSM and I-FGM with eps as the step, around the previous iterate or the image.
#include <doctest/doctest.h>

#include "attacks/ifgm.h"
#include "tests/attack_models.h"

using namespace hashgrad;
using namespace hashgrad::testing;

namespace {

/// The margin of class 1 over class 0 grows along (-2, 0.5, 0); it never wins here.
Model safe() { return linear_model({2, -0.5, 0, 0, 0, 0}, {10, 0}); }

std::vector<double> attacked(const Ifgm::Options& options) {
  const AttackInput input{Tensor::of<double>({0.5, 0.5, 0.5}, {1, 1, 1, 3}), classes({0}), {}, {}};
  return Ifgm(options).run(safe(), input).x_adv.to_vector<double>();
}

}  // namespace

TEST_CASE("ifgsm: around the previous iterate eps bounds the step, around the image the perturbation") {
  CHECK(attacked({.eps = 0.0625, .iters = 3, .loss = "margin"}) == std::vector<double>{0.3125, 0.6875, 0.5});
  CHECK(attacked({.eps = 0.0625, .iters = 3, .ball = Ifgm::Ball::origin, .loss = "margin"}) ==
        std::vector<double>{0.4375, 0.5625, 0.5});
  CHECK(attacked({.eps = 0.25, .iters = 12, .loss = "margin"}) == std::vector<double>{0, 1, 0.5});  // the box
}

TEST_CASE("ifgm: the step is as long as the gradient, at most eps per pixel") {
  CHECK(attacked({.sign = false, .eps = 0.0625, .iters = 3, .loss = "margin"}) ==
        std::vector<double>{0.3125, 0.59375, 0.5});  // -2 is clipped, 0.5 is not
  CHECK(attacked({.sign = false, .eps = 0.0625, .iters = 3, .ball = Ifgm::Ball::origin, .loss = "margin"}) ==
        std::vector<double>{0.4375, 0.5625, 0.5});  // 3 * 0.03125 is beyond the ball
}

TEST_CASE("ifgm: only around the image is there a ball to be judged by") {
  CHECK_FALSE(Ifgm({}).threat().has_value());
  CHECK(Ifgm({.eps = 0.1, .ball = Ifgm::Ball::origin}).threat()->eps == 0.1);
}

TEST_CASE("ifgm: options out of range are refused by name") {
  CHECK(error_of([] { Ifgm({.eps = -1}); }).find("ifgsm: eps = -1") == 0);
  CHECK(error_of([] { Ifgm({.sign = false, .iters = 0}); }).find("ifgm: iters = 0") == 0);
}

TEST_CASE("ifgsm: the last iterate is judged, not differentiated") {
  const AttackInput input{Tensor::of<double>({0.5, 0.5, 0.5}, {1, 1, 1, 3}), classes({0}), {}, {}};
  const AttackResult r = Ifgm({.eps = 0.01, .iters = 3}).run(safe(), input);
  CHECK(r.forwards.data<int64_t>()[0] == 1 + 4);  // the clean image, then 0 to 3 steps
  CHECK(r.backwards.data<int64_t>()[0] == 3);
}
