// Carlini and Wagner's L0 attack.
#include <doctest/doctest.h>

#include "attacks/cw_l0.h"
#include "tests/naive_lead.h"

namespace hashgrad {
namespace {

using namespace testing;

/// Two classes on images [channels, 1, places]; class 0 leads by `lead` where all pixels are 0.5, and a pixel
/// that moves by d against its weight lowers the lead by |weight| * d.
Model lead_model(const std::vector<double>& weight, int64_t channels, double lead) {
  const int64_t n = static_cast<int64_t>(weight.size());
  Model model(fmt::format("{}x1x{} flatten fc2", channels, n / channels),
              {.dtype = DType::float64, .init = Init::zeros});
  Tensor rows = model.parameter("1.weight").value();
  double at_half = 0;
  for (int64_t i = 0; i < n; ++i) {
    rows.data<double>()[i] = weight[static_cast<size_t>(i)];
    at_half += 0.5 * weight[static_cast<size_t>(i)];
  }
  model.parameter("1.bias").value().data<double>()[0] = lead - at_half;
  return model;
}

AttackInput grey(int64_t channels, int64_t places) {
  return {Tensor::full({1, channels, 1, places}, 0.5, DType::float64), classes({0}), {}, {}};
}

const CwL0::Options quick{.c0 = 0.1, .c_steps = 8, .iters = 60, .lr = 0.1};

TEST_CASE("cw-l0: only as many pixels as are needed, the strongest, and the others to the last bit") {
  const std::vector<double> weight{0.5, -3, 1, 0.25, 2, -1, 0.125, 0.5};
  for (const auto& [lead, pixels] : {std::pair{1.3, 1}, {2.3, 2}, {2.8, 3}}) {
    const AttackResult r = CwL0(quick).run(lead_model(weight, 1, lead), grey(1, 8));
    CAPTURE(lead);
    CHECK(r.success.data<uint8_t>()[0] == 1);
    CHECK(r.l0.data<double>()[0] == pixels);
    const std::vector<double> x = r.x_adv.to_vector<double>();
    CHECK(x[1] > 0.75);
    CHECK(x[6] == 0.5);
    if (pixels >= 2) CHECK(x[4] < 0.25);
  }
}

TEST_CASE("cw-l0: the channels of a pixel go back together, unless they are set apart") {
  const std::vector<double> weight{2,      0.25, 0.5,  // red of three pixels
                                   0.0625, 3,    0.5,  // green
                                   0.125,  0.5,  0.5};
  const Model model =
      lead_model(weight, 3, 2.1);  // one channel of one pixel cannot, two channels of pixel 0 and 1 can
  const AttackResult together = CwL0(quick).run(model, grey(3, 3));
  CwL0::Options options = quick;
  options.channels_apart = true;
  const AttackResult apart = CwL0(options).run(model, grey(3, 3));
  CHECK(together.l0.data<double>()[0] == 6);  // pixels 0 and 1, three channels each
  CHECK(together.x_adv.to_vector<double>()[2] == 0.5);
  CHECK(together.x_adv.to_vector<double>()[5] == 0.5);
  CHECK(together.x_adv.to_vector<double>()[8] == 0.5);
  CHECK(apart.l0.data<double>()[0] == 2);
  CHECK(apart.x_adv.to_vector<double>()[0] < 0.5);
  CHECK(apart.x_adv.to_vector<double>()[4] < 0.5);
}

TEST_CASE("cw-l0: the lead is kappa at least, and black and white pixels move") {
  const NaiveModel net = naive_model();
  CwL0::Options options = quick;
  options.kappa = 0.5;
  const AttackResult r = CwL0(options).run(net.model(), net.input(naive_image));
  CHECK(r.success.data<uint8_t>()[0] == 1);
  CHECK(net.lead(r.x_adv.to_vector<double>()).value >= 0.5);

  const Model model = linear_model({1, -2, -1, 1}, {0.25, 0});
  const AttackInput corner{Tensor::of<double>({1, 0}, {1, 1, 1, 2}), classes({0}), {}, {}};
  const AttackResult moved = CwL0(quick).run(model, corner);
  CHECK(moved.success.data<uint8_t>()[0] == 1);
  CHECK(moved.l0.data<double>()[0] == 1);
}

TEST_CASE("cw-l0: the first solution, derived by hand") {
  // One pixel of 0.5: w = 0, slope 0.5, so the first step of Adam moves w by lr * g / (|g| + eps') towards
  // the goal.
  const Model model = lead_model({1, 0}, 1, 0.04);
  const AttackResult r =
      CwL0({.kappa = 0, .c0 = 1, .c_steps = 1, .iters = 2, .lr = 0.1}).run(model, grey(1, 2));
  const std::vector<double> x = r.x_adv.to_vector<double>();
  CHECK(x[0] == doctest::Approx((std::tanh(-0.1) + 1) / 2).epsilon(1e-7));
  CHECK(x[1] == 0.5);
  CHECK(r.first_success.data<int64_t>()[0] == 2);
}

TEST_CASE("cw-l0: a zero gradient, a logit that is no number, and a row that cannot succeed") {
  const AttackInput one{Tensor::of<double>({0.5, 0.25}, {1, 1, 1, 2}), classes({0}), {}, {}};
  const AttackResult flat = CwL0(quick).run(linear_model({0, 0, 0, 0}, {1, 0}), one);
  CHECK(status_of(flat, 0) == Status::zero_grad);
  CHECK(identical(flat.x_adv, one.x));
  const AttackResult far = CwL0(quick).run(linear_model({1, 0, 0, 0}, {5, 0}), one);
  CHECK(status_of(far, 0) == Status::max_iter);
  CHECK(identical(far.x_adv, one.x));
  CHECK(far.backwards.data<int64_t>()[0] == 8 * 60);
  const Model huge = linear_model({1e308, 1e308, 0, 0, 0, 1}, {0, 0});
  const AttackInput two{Tensor::of<double>({1, 1, 0, 0, 0, 0.5}, {2, 1, 1, 3}), classes({0, 1}), {}, {}};
  const AttackResult broken = CwL0(quick).run(huge, two);
  CHECK(status_of(broken, 0) == Status::nan);
  CHECK(status_of(broken, 1) == Status::ok);
}

TEST_CASE("cw-l0: options out of range are refused by name") {
  CHECK(error_of([] { CwL0({.kappa = -1}); }) == "cw-l0: kappa = -1, a number in [0, 1e30] expected");
  CHECK(error_of([] { CwL0({.c0 = 1e11}); }) == "cw-l0: c0 = 100000000000, a number in (0, 1e10] expected");
  CHECK(error_of([] { CwL0({.iters = 0}); }).find("cw-l0: iters = 0") == 0);
  CHECK(error_of([] { CwL0({.lr = -1}); }).find("cw-l0: lr = -1") == 0);
}

TEST_CASE("cw-l0: a round takes 0.3 sqrt(n) pixels out, n those that have changed") {
  std::vector<double> weight(37,
                             0.0);  // 36 pixels that do nothing stay where they are: one goes in each round
  weight[0] = 3;
  const AttackResult still = CwL0(quick).run(lead_model(weight, 1, 1), grey(1, 37));
  REQUIRE(still.l0.data<double>()[0] == 1);
  CHECK(still.forwards.data<int64_t>()[0] == still.first_success.data<int64_t>()[0] + 37);
  for (size_t i = 1; i < 37; ++i)
    weight[i] = 1e-3;  // they change as the first does: two go, until 11 are left
  const AttackResult moved = CwL0(quick).run(lead_model(weight, 1, 1), grey(1, 37));
  REQUIRE(moved.l0.data<double>()[0] == 1);
  CHECK(moved.forwards.data<int64_t>()[0] >= moved.first_success.data<int64_t>()[0] + 13 + 11);
}

}  // namespace
}  // namespace hashgrad
