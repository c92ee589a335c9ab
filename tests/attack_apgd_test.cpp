// APGD: against a plain transcription of the published algorithm, and what restarts, targets and profiles
// promise.
#include <cmath>
#include <doctest/doctest.h>
#include <numeric>

#include "attacks/apgd.h"
#include "tests/attack_models.h"

using namespace hashgrad;
using namespace hashgrad::testing;

namespace {

constexpr double eps = 0.06;

double sign(double v) { return static_cast<double>((v > 0) - (v < 0)); }

/// APGD for linf on cross-entropy, of one image, from `x`: the last misclassified iterate, or the best one.
std::vector<double> plain_apgd(const Model& model, const AttackInput& input, std::vector<double> x,
                               size_t iters, double rho) {
  const std::vector<double> x0 = input.x.to_vector<double>();
  const size_t n = x.size();
  const auto project = [&](double v, size_t i) {
    return std::min(std::max(std::min(std::max(v, x0[i] - eps), x0[i] + eps), 0.0), 1.0);
  };
  const auto pass = [&](const std::vector<double>& at) {
    return Oracle(model).ascent(Tensor::of(at, input.x.shape()), input.goal(), "ce");
  };
  LossGradient p = pass(x);
  std::vector<double> g = p.gradient.to_vector<double>(), losses(iters, 0);
  std::vector<double> old = x, best = x, best_g = g, fooled;
  double best_loss = p.value.data<double>()[0], last_best = best_loss, step = 2 * eps;
  const auto look = [&] {
    if (predictions_of(p.logits)[0] != input.y.data<int64_t>()[0]) fooled = x;
  };
  look();
  bool reduced = true;
  size_t window = iters * 22 / 100, since = 0;
  for (size_t k = 0; k < iters; ++k) {
    const double a = k == 0 ? 1 : 0.75;
    std::vector<double> next(n);
    for (size_t i = 0; i < n; ++i) {
      const double z = project(x[i] + step * sign(g[i]), i);
      next[i] = project(x[i] + a * (z - x[i]) + (1 - a) * (x[i] - old[i]), i);
    }
    old = x, x = next, p = pass(x), g = p.gradient.to_vector<double>();
    look();
    losses[k] = p.value.data<double>()[0];
    if (losses[k] > best_loss) best_loss = losses[k], best = x, best_g = g;
    if (++since < window) continue;
    size_t rises = 0;
    for (size_t j = k + 1 - window; j <= k; ++j) rises += losses[j] > (j == 0 ? 0 : losses[j - 1]);
    const bool reduce = static_cast<double>(rises) <= rho * static_cast<double>(window) ||
                        (!reduced && last_best >= best_loss);
    reduced = reduce, last_best = best_loss, since = 0;
    if (reduce) step /= 2, x = best, g = best_g;
    window = std::max(window - iters * 3 / 100, iters * 6 / 100);
  }
  return fooled.empty() ? best : fooled;
}

AttackInput some_rows(const Model& model, int64_t n) {
  const Tensor x = images(n, {1, 6, 6}, DType::float64);
  std::vector<int64_t> samples(static_cast<size_t>(n));
  std::iota(samples.begin(), samples.end(), 0);
  return {x, own_labels(model, x), {}, samples};
}

/// Of one pixel: z_1 - z_0 rises by 2 to 0.65, falls by 6 to 0.75 and is flat behind; it is above 0 from 0.55
/// to 0.683.
Model ridge() {
  Model model("1x1x1 flatten fc3 relu fc2", {.dtype = DType::float64, .init = Init::zeros});
  model.parameter("1.weight").value().copy_from(Tensor::full({3, 1}, 1, DType::float64));
  model.parameter("1.bias").value().copy_from(Tensor::of<double>({0, -0.65, -0.75}, {3}));
  model.parameter("3.weight").value().copy_from(Tensor::of<double>({0, 0, 0, 2, -8, 6}, {2, 3}));
  model.parameter("3.bias").value().copy_from(Tensor::of<double>({0, -1.1}, {2}));
  return model;
}

}  // namespace

TEST_CASE("apgd: the checkpoints of 100 steps are the published ones") {
  CHECK(apgd_checkpoints(100) == std::vector<int64_t>{22, 41, 57, 70, 80, 87, 93, 99});
  CHECK(apgd_checkpoints(1) == std::vector<int64_t>{1});
}

TEST_CASE("apgd: in the authors' profile it takes the steps of their program") {
  const Model model = small_net(DType::float64);
  const AttackInput input = some_rows(model, 8);
  const Tensor start = random_start(input.x, {Norm::linf, eps}, 4, input.samples, 0);
  for (const double rho : {0.75, 0.0}) {  // 0: a row is halved only when it has found nothing better
    const AttackResult r =
        Apgd({.eps = eps, .iters = 100, .rho = rho, .autoattack = true, .seed = 4}).run(model, input);
    int64_t broken = 0;
    for (int64_t i = 0; i < 8; ++i) {
      const std::vector<double> plain =
          plain_apgd(model, gather(input, {i}), start.slice(0, i, i + 1).to_vector<double>(), 100, rho);
      const std::vector<double> ours = r.x_adv.slice(0, i, i + 1).to_vector<double>();
      double most = 0;
      for (size_t j = 0; j < plain.size(); ++j) most = std::max(most, std::abs(plain[j] - ours[j]));
      CHECK(most < 1e-9);
      broken += r.success.data<uint8_t>()[i];
    }
    CHECK(broken > 0);
    CHECK(broken < 8);  // both ends of the search are compared
  }
}

TEST_CASE("apgd: a row stops at its first success; the profile finds it in the same step and goes on") {
  const Model model = small_net(DType::float64);
  const AttackInput input = some_rows(model, 24);
  for (const Norm norm : {Norm::linf, Norm::l2}) {
    const double size = norm == Norm::linf ? eps : 0.3;
    const AttackResult first =
        Apgd({.norm = norm, .eps = size, .iters = 20, .loss = "dlr"}).run(model, input);
    const AttackResult last =
        Apgd({.norm = norm, .eps = size, .iters = 20, .loss = "dlr", .autoattack = true}).run(model, input);
    CHECK(identical(first.success, last.success));
    int64_t gone_on = 0;  // not all: a point without gradient can be where a row comes to rest
    for (int64_t i = 0; i < 24; ++i) {
      const int64_t steps = first.first_success.data<int64_t>()[i];
      if (steps < 0) continue;
      CHECK(first.forwards.data<int64_t>()[i] == steps + 1);  // and the clean pass
      CHECK(last.first_success.data<int64_t>()[i] == steps);
      gone_on += last.forwards.data<int64_t>()[i] == 22;
    }
    CHECK(gone_on > 0);
  }
}

TEST_CASE("apgd: more restarts break more, never less") {
  const Model model = small_net(DType::float64);
  const AttackInput input = some_rows(model, 40);
  const AttackResult one = Apgd({.eps = 0.1, .iters = 1}).run(model, input);
  const AttackResult many = Apgd({.eps = 0.1, .iters = 1, .restarts = 6}).run(model, input);
  int64_t gained = 0;
  for (int64_t i = 0; i < 40; ++i) {
    const uint8_t a = one.success.data<uint8_t>()[i], b = many.success.data<uint8_t>()[i];
    CHECK(b >= a);
    gained += b - a;
    if (a) CHECK(same_row(one, i, many, i));
  }
  CHECK(gained > 0);
}

TEST_CASE("apgd-t: tries the likeliest classes one after the other") {
  // Only class 2 can win: class 1, the runner-up, has the weights of class 0; class 3 is out of reach.
  const Model model = linear_model({1, 0, 1, 0, 0, 1, -1, -1}, {0.5, 0.45, 0, -9});
  const AttackInput input{Tensor::of<double>({0.5, 0.5}, {1, 1, 1, 2}), classes({0}), {}, {}};
  const auto success = [&](int64_t targets) {
    return Apgd({.eps = 0.26, .iters = 6, .targets = targets, .seed = 1})
        .run(model, input)
        .success.data<uint8_t>()[0];
  };
  CHECK(success(2) == 1);
  AttackInput hopeless = input;
  hopeless.targets = classes({3});
  CHECK(status_of(Apgd({.eps = 0.26, .iters = 6, .targets = 9}).run(model, hopeless), 0) == Status::max_iter);
}

TEST_CASE("apgd: a start without gradient stays where it is") {
  const Model model = linear_model({1, -2, 0, -1, 1, 0}, {0, -300}, DType::float32);
  const AttackInput input{Tensor::full({1, 1, 1, 3}, 0.5), classes({0}), {}, {}};
  const AttackResult r = Apgd({.eps = 0.1}).run(model, input);
  CHECK(status_of(r, 0) == Status::zero_grad);
  CHECK(r.backwards.data<int64_t>()[0] == 1);
  CHECK(status_of(Apgd({.eps = 0.1, .iters = 3, .loss = "ce-exact"}).run(model, input), 0) ==
        Status::max_iter);
}

TEST_CASE("apgd: too few classes for its loss, and options out of range, are refused by name") {
  const Model model = linear_model({1, 0, 0, 1}, {0, 0});
  const AttackInput input{Tensor::full({1, 1, 1, 2}, 0.5, DType::float64), classes({0}), {}, {}};
  CHECK(error_of([&] { Apgd({.loss = "dlr"}).run(model, input); }) ==
        "apgd-dlr: its loss needs 3 classes, the model has 2");
  CHECK(error_of([&] { Apgd({.targets = 9}).run(model, input); }) ==
        "apgd-t: its loss needs 4 classes, the model has 2");
  CHECK(error_of([] { Apgd({.eps = -1}); }).find("apgd-ce: eps = -1") == 0);
  CHECK(error_of([] { Apgd({.iters = 0}); }).find("apgd-ce: iters = 0") == 0);
  CHECK(error_of([] { Apgd({.restarts = 0}); }).find("apgd-ce: restarts = 0") == 0);
  CHECK(error_of([] { Apgd({.rho = 2}); }).find("apgd-ce: rho = 2") == 0);
}

TEST_CASE("apgd: a row on flat ground goes back to its best point at the next checkpoint") {
  const Model model = ridge();
  const AttackInput input{Tensor::full({1, 1, 1, 1}, 0.5, DType::float64), classes({0}), {}, {0}};
  int64_t tried = 0;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    // The first step, of 0.6, ends on the flat edge of the ball; the one from the start again, of 0.3 and
    // with the momentum of the way back, at 1.25 start + 0.025.
    const double start = random_start(input.x, {Norm::linf, 0.3}, seed, {0}, 0).data<double>()[0];
    if (start < 0.43 || start > 0.5) continue;
    ++tried;
    const AttackResult r = Apgd({.eps = 0.3, .iters = 20, .loss = "margin", .seed = seed}).run(model, input);
    CHECK(r.x_adv.data<double>()[0] == doctest::Approx(1.25 * start + 0.025));
  }
  CHECK(tried > 2);
}

TEST_CASE("apgd-t: every start of one target comes before the next target") {
  // As above, only class 2 can win, and it is the second likeliest: two starts of seven points are in vain.
  const Model model = linear_model({1, 0, 1, 0, 0, 1, -1, -1}, {0.5, 0.45, 0, -9});
  const AttackInput input{Tensor::of<double>({0.5, 0.5}, {1, 1, 1, 2}), classes({0}), {}, {}};
  const AttackResult r = Apgd({.eps = 0.26, .iters = 6, .restarts = 2, .targets = 2}).run(model, input);
  CHECK(r.success.data<uint8_t>()[0] == 1);
  CHECK(r.first_success.data<int64_t>()[0] > 2 * 7);
}

TEST_CASE("apgd: the first loss is compared with that of the start, in the authors' profile with 0") {
  // As on flat ground above, with a checkpoint after every step. The first one falls, to a cross-entropy
  // that is above 0 all the same: there the row is sent back one step later.
  const AttackInput input{Tensor::full({1, 1, 1, 1}, 0.5, DType::float64), classes({0}), {}, {0}};
  int64_t tried = 0;
  for (uint64_t seed = 0; seed < 400; ++seed) {
    // The step from the start again is 0.3 with momentum: it ends at start + 0.225.
    const double start = random_start(input.x, {Norm::linf, 0.3}, seed, {0}, 0).data<double>()[0];
    if (start < 0.43 || start > 0.455) continue;
    ++tried;
    const auto success = [&](bool autoattack) {
      return Apgd({.eps = 0.3, .iters = 4, .autoattack = autoattack, .seed = seed})
          .run(ridge(), input)
          .first_success.data<int64_t>()[0];
    };
    CHECK(success(false) == 3);  // the start, the first step, the step from the start again
    CHECK(success(true) == 4);
  }
  CHECK(tried > 2);
}
