// FAB, and the planes in a box that it is made of.
#include <cmath>
#include <doctest/doctest.h>

#include "attacks/boundaries.h"
#include "attacks/deepfool.h"
#include "attacks/fab.h"
#include "tests/attack_models.h"

using namespace hashgrad;
using namespace hashgrad::testing;

namespace {

AttackInput one_image(const std::vector<double>& pixels, int64_t label) {
  return {Tensor::of(pixels, {1, 1, 1, static_cast<int64_t>(pixels.size())}), classes({label}), {}, {}};
}

/// The L1 distance of a plane inside the box as the largest value of the dual problem, at a price per unit of
/// the gap.
double plain_l1_distance(const std::vector<double>& x, const std::vector<double>& w, double gap) {
  const double up = gap < 0 ? 1 : -1;
  double best = 0;
  for (const double kink : w) {  // the dual is concave and piecewise linear, its kinks are at 1 / |w|
    if (kink == 0) continue;
    const double price = 1 / std::abs(kink);
    double value = price * std::abs(gap);
    for (size_t i = 0; i < x.size(); ++i)
      value -= (up * w[i] > 0 ? 1 - x[i] : x[i]) * std::max(price * std::abs(w[i]) - 1, 0.0);
    best = std::max(best, value);
  }
  return best;
}

/// The distance of a plane inside the box by bisection: the smallest bound under which it can be reached.
double plain_distance(Norm norm, const std::vector<double>& x, const std::vector<double>& w, double gap) {
  if (norm == Norm::l1) return plain_l1_distance(x, w, gap);
  const double up = gap < 0 ? 1 : -1;
  double low = 0, high = 1e6;
  const auto delta = [&](size_t i, double t) {
    const double room = up * w[i] > 0 ? 1 - x[i] : x[i];
    return std::min(norm == Norm::linf ? t : t * std::abs(w[i]), room);
  };
  for (int step = 0; step < 200; ++step) {
    const double t = (low + high) / 2;
    double closed = 0;
    for (size_t i = 0; i < x.size(); ++i) closed += std::abs(w[i]) * delta(i, t);
    (closed < std::abs(gap) ? low : high) = t;
  }
  double sum = 0, largest = 0;
  for (size_t i = 0; i < x.size(); ++i)
    if (w[i] != 0) sum += std::pow(delta(i, high), 2), largest = std::max(largest, delta(i, high));
  return norm == Norm::linf ? largest : std::sqrt(sum);
}

/// Of one pixel: z_1 - z_0 = max(0, |x - 0.5| - flat) - depth.
Model basin(double flat, double depth) {
  Model model("1x1x1 flatten fc2 relu fc2", {.dtype = DType::float64, .init = Init::zeros});
  model.parameter("1.weight").value().copy_from(Tensor::of<double>({1, -1}, {2, 1}));
  model.parameter("1.bias").value().copy_from(Tensor::of<double>({-0.5 - flat, 0.5 - flat}, {2}));
  model.parameter("3.weight").value().copy_from(Tensor::of<double>({0, 0, 1, 1}, {2, 2}));
  model.parameter("3.bias").value().copy_from(Tensor::of<double>({depth, 0}, {2}));
  return model;
}

}  // namespace

TEST_CASE("to_plane: the shortest way to a plane inside the box, as bisection finds it") {
  Random random(3, Stream::test);
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<double> x(9), w(9), delta(9);
    double reach = 0;
    const bool below = trial % 2 == 0;
    for (size_t i = 0; i < 9; ++i) {
      x[i] = std::min(1.0, std::max(0.0, 1.6 * random.uniform_double() - 0.3));  // some exactly 0 or 1
      w[i] = i == 4 ? 0 : random.normal();
      reach += std::abs(w[i]) * ((w[i] > 0) == below ? 1 - x[i] : x[i]);
    }
    const double gap = (below ? -1 : 1) * reach * 0.99 * random.uniform_double();
    for (const Norm norm : {Norm::linf, Norm::l2, Norm::l1}) {
      to_plane(norm, x.data(), w.data(), gap, 9, delta.data());
      double there = gap, sum = 0, squares = 0, largest = 0;
      for (size_t i = 0; i < 9; ++i) {
        there += w[i] * delta[i];
        sum += std::abs(delta[i]), squares += delta[i] * delta[i],
            largest = std::max(largest, std::abs(delta[i]));
        CHECK(x[i] + delta[i] >= 0);
        CHECK(x[i] + delta[i] <= 1);
      }
      CHECK(std::abs(there) < 1e-12);
      CHECK((norm == Norm::linf ? largest
             : norm == Norm::l2 ? std::sqrt(squares)
                                : sum) == doctest::Approx(plain_distance(norm, x, w, gap)).epsilon(1e-9));
    }
  }
}

TEST_CASE(
    "to_plane: out of reach it goes as far as the box does; weights as small as numbers get count in full") {
  const std::vector<double> x{0.25, 0.5, 1}, w{2, -1, 1}, tiny{2e-200, -1e-200, 1e-200};
  std::vector<double> delta(3);
  for (const Norm norm : {Norm::linf, Norm::l2, Norm::l1}) {
    to_plane(norm, x.data(), w.data(), -100, 3, delta.data());
    CHECK(delta == std::vector<double>{0.75, -0.5, 0});
    to_plane(norm, x.data(), tiny.data(), -100, 3, delta.data());
    CHECK(delta == std::vector<double>{0.75, -0.5, 0});
    std::vector<double> same(3);
    to_plane(norm, x.data(), tiny.data(), -1e-200, 3, delta.data());
    to_plane(norm, x.data(), w.data(), -1, 3, same.data());
    for (size_t i = 0; i < 3; ++i) CHECK(delta[i] == doctest::Approx(same[i]));
    to_plane(norm, x.data(), w.data(), 0, 3, delta.data());
    CHECK(delta == std::vector<double>{0, 0, 0});
  }
}

TEST_CASE("fab: reaches the smallest distance of a linear model, inside and at the edge of the box") {
  const Model model = linear_model({3, 0, 0, 4}, {0.5, 0});  // z_0 - z_1 = 3 x_0 - 4 x_1 + 0.5
  const std::vector<double> inside{0.5, 0.375}, edge{0.02, 0.02};
  for (const auto& [pixels, gap] : {std::pair{inside, 0.5}, std::pair{edge, 0.48}})
    for (const Norm norm : {Norm::linf, Norm::l2, Norm::l1}) {
      const double least = plain_distance(norm, pixels, {3, -4}, gap);
      for (const int64_t targets : {0, 1}) {
        const AttackResult r =
            Fab({.norm = norm, .iters = 20, .targets = targets}).run(model, one_image(pixels, 0));
        const double distance = in_norm(r, norm).data<double>()[0];
        CHECK(distance >= least);
        CHECK(distance <= 1.001 * least);
      }
    }
}

TEST_CASE("fab: more steps never make it worse, and it gets nearer than deepfool") {
  const Model model = small_net(DType::float64);
  const Tensor x = images(30, {1, 6, 6}, DType::float64);
  const AttackInput input{x, own_labels(model, x), {}, {}};
  for (const Norm norm : {Norm::linf, Norm::l2}) {
    const auto distances = [&](const Attack& attack) {
      const AttackResult r = attack.run(model, input);
      for (int64_t i = 0; i < 30; ++i) CHECK(r.success.data<uint8_t>()[i] == 1);
      return (norm == Norm::linf ? r.linf : r.l2).to_vector<double>();
    };
    const std::vector<double> deepfool = distances(DeepFool({.norm = norm})),
                              few = distances(Fab({.norm = norm, .iters = 10})),
                              many = distances(Fab({.norm = norm, .iters = 40})),
                              targets = distances(Fab({.norm = norm, .iters = 40, .targets = 9}));
    double sum_deepfool = 0, sum_many = 0, sum_targets = 0;
    for (size_t i = 0; i < 30; ++i) {
      CHECK(many[i] <= few[i] * 1.01);  // the last secant steps start elsewhere
      sum_deepfool += deepfool[i], sum_many += many[i], sum_targets += targets[i];
    }
    CHECK(sum_many < 0.97 * sum_deepfool);
    CHECK(sum_targets < 1.02 * sum_many);
  }
}

TEST_CASE("fab: with a ball only what lies inside counts, and a row ends there") {
  const Model model = linear_model({3, 0, 0, 4}, {0.5, 0});
  const AttackInput input = one_image({0.5, 0.375}, 0);  // 0.1 away in l2
  const AttackResult near = Fab({.norm = Norm::l2, .eps = 0.11, .iters = 30}).run(model, input);
  CHECK(status_of(near, 0) == Status::ok);
  CHECK(near.forwards.data<int64_t>()[0] < 10);
  CHECK(near.first_success.data<int64_t>()[0] == 1);
  const AttackResult far = Fab({.norm = Norm::l2, .eps = 0.09, .iters = 30}).run(model, input);
  CHECK(status_of(far, 0) == Status::max_iter);
  CHECK(identical(far.x_adv, input.x));
  const AttackResult none = Fab({}).run(linear_model({1, 0, 1, 0}, {0.5, 0}), input);
  CHECK(status_of(none, 0) == Status::zero_grad);
}

TEST_CASE("fab: what lies on the surface of the ball is inside, and ends its row") {
  // Only x > 0.99 is class 1, and the step past the boundary ends at 1, half a pixel away.
  const AttackResult r =
      Fab({.eps = 0.5, .iters = 30}).run(linear_model({0, 1}, {0.99, 0}), one_image({0.5}, 0));
  CHECK(status_of(r, 0) == Status::ok);
  CHECK(r.first_success.data<int64_t>()[0] == 1);
  CHECK(r.forwards.data<int64_t>()[0] == 3);  // clean, one step and its judgement
}

TEST_CASE("fab: options out of range are refused by name") {
  CHECK(error_of([] { Fab({.eps = -1}); }).find("fab: eps = -1") == 0);
  CHECK(error_of([] { Fab({.iters = 0}); }).find("fab: iters = 0") == 0);
  CHECK(error_of([] { Fab({.restarts = 0}); }).find("fab: restarts = 0") == 0);
  CHECK(error_of([] { Fab({.targets = 9, .alpha_max = 2}); }).find("fab-t: alpha_max = 2") == 0);
  CHECK(error_of([] { Fab({.eta = 0.5}); }).find("fab: eta = 0.5") == 0);
  CHECK(error_of([] { Fab({.beta = 2}); }).find("fab: beta = 2") == 0);
}

TEST_CASE("fab-t: the first start of every target is the image itself") {
  // With one start for each target nothing is drawn.
  const Model model = small_net(DType::float64);
  const Tensor x = images(12, model.input_shape(), DType::float64);
  const AttackInput input{x, own_labels(model, x), {}, {}};
  const AttackResult a = Fab({.iters = 2, .targets = 3, .seed = 1}).run(model, input),
                     b = Fab({.iters = 2, .targets = 3, .seed = 2}).run(model, input);
  CHECK(identical(a.x_adv, b.x_adv));
  CHECK(identical(a.forwards, b.forwards));
}

TEST_CASE("fab: a start around the image is at most half as far from it as the ball reaches") {
  // Flat where a start in the ball of 0.2 may be, and above 0 in the outer quarter of the ball.
  const AttackResult r =
      Fab({.eps = 0.2, .iters = 3, .restarts = 20}).run(basin(0.12, 0.03), one_image({0.5}, 0));
  CHECK(status_of(r, 0) == Status::zero_grad);
  CHECK(r.backwards.data<int64_t>()[0] == 20);  // one for each start
}

TEST_CASE("fab: a start that cannot move takes no step") {
  // The image is on flat ground; the starts around it that are not cross the boundary at 0.095 in one step.
  const AttackResult r =
      Fab({.eps = 0.2, .iters = 3, .restarts = 20}).run(basin(0.05, 0.045), one_image({0.5}, 0));
  CHECK(status_of(r, 0) == Status::ok);
  CHECK(r.first_success.data<int64_t>()[0] == 1);
  CHECK(r.backwards.data<int64_t>()[0] > 1);
}
