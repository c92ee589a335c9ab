// The elastic-net attack: a transcription that shares no code with it, closed forms, and the known mistakes
// of other implementations.
#include <doctest/doctest.h>

#include "attacks/ead.h"
#include "tests/naive_lead.h"

namespace hashgrad {
namespace {

using namespace testing;

NaiveResult naive_ead(const NaiveModel& net, const Pixels& image, const Ead::Options& o) {
  NaiveResult result{image};
  double c = o.c0, lower = 0, upper = 1e10;
  for (int64_t step = 0; step < o.c_steps; ++step) {
    Pixels x = image, y = image;
    double previous = 1e300;
    bool found = false;
    if (o.c_steps >= 10 && step == o.c_steps - 1) c = upper;
    for (int64_t k = 0; k < o.iters; ++k) {
      const double lr = o.lr * std::sqrt(1 - static_cast<double>(k) / static_cast<double>(o.iters));
      const double zt = o.fista ? static_cast<double>(k + 1) / static_cast<double>(k + 4) : 0;
      const NaiveModel::Lead ahead = net.lead(y);
      double l1 = 0, squares = 0;
      for (size_t i = 0; i < x.size(); ++i) {
        const double slope = 2 * (y[i] - image[i]) - (ahead.value < o.kappa ? c * ahead.gradient[i] : 0);
        const double z = y[i] - lr * slope;
        double next = image[i];
        if (z - image[i] > o.beta) next = std::min(z - o.beta, 1.0);
        if (z - image[i] < -o.beta) next = std::max(z + o.beta, 0.0);
        y[i] = next + zt * (next - x[i]);
        x[i] = next;
        l1 += std::abs(x[i] - image[i]);
        squares += std::pow(x[i] - image[i], 2);
      }
      ++result.passes;
      const double lead = net.lead(x).value;
      const double loss = squares + o.beta * l1 + c * std::max(0.0, o.kappa - lead);
      if (o.abort_early && k % std::max<int64_t>(1, o.iters / 10) == 0) {
        if (loss > previous * 0.9999) break;
        previous = loss;
      }
      if (lead < o.kappa) continue;
      found = true;
      if (result.first < 0) result.first = result.passes;
      const double distance = o.rule == Ead::Rule::l1 ? l1 : squares + o.beta * l1;
      if (distance < result.distance) result.distance = distance, result.best = x;
    }
    (found ? upper : lower) = c;
    c = upper < 1e9 ? (lower + upper) / 2 : 10 * c;
  }
  return result;
}

TEST_CASE("ead: as an independent transcription of the published algorithm") {
  const Ead::Options plain{.c0 = 0.01, .c_steps = 6, .iters = 40, .lr = 0.02};
  std::vector<Ead::Options> cases(5, plain);
  cases[1].rule = Ead::Rule::l1;
  cases[2].kappa = 0.5, cases[2].abort_early = true;
  cases[3].fista = false, cases[3].beta = 0.002;
  cases[4].c_steps = 11, cases[4].iters = 17;
  for (const int64_t target : {-1, 1, 2})
    for (const Ead::Options& options : cases) {
      const NaiveModel net = naive_model(target);
      const NaiveResult expected = naive_ead(net, naive_image, options);
      const AttackInput input = net.input(naive_image);
      const AttackResult r = Ead(options).run(net.model(), input);
      CAPTURE(Ead(options).repr());
      CAPTURE(target);
      REQUIRE(expected.distance < 10);
      CHECK(largest_difference(r.x_adv.to_vector<double>(), expected.best) < 1e-12);
      CHECK(r.forwards.data<int64_t>()[0] == 2 * expected.passes + 1);
      CHECK(r.backwards.data<int64_t>()[0] == expected.passes);
      CHECK(r.first_success.data<int64_t>()[0] == expected.first);
      CHECK(input.x.to_vector<double>() ==
            naive_image);  // distances are from the image, not from an alias of it
    }
}

TEST_CASE("ead: the L1 distance to the boundary of two classes is |w x + b| / max |w|, along one pixel") {
  const Model model = linear_model({1, -2, 0, -1, 1, 0}, {0, 0});
  const AttackInput input{Tensor::of<double>({0.625, 0.25, 0.5}, {1, 1, 1, 3}), classes({0}), {}, {}};
  const AttackResult r =
      Ead({.rule = Ead::Rule::l1, .beta = 0.05, .c0 = 0.1, .iters = 500}).run(model, input);
  CHECK(r.success.data<uint8_t>()[0] == 1);
  CHECK(r.l1.data<double>()[0] >= 0.5 / 3);
  CHECK(r.l1.data<double>()[0] < 1.01 * 0.5 / 3);
  CHECK(r.l0.data<double>()[0] == 1);
}

TEST_CASE("ead: what is returned is what was judged, for every row and both rules") {
  // x and y differ; an attack that judges y and returns x loses its successes.
  const Model model = small_net(DType::float32);
  const Tensor x = images(24, model.input_shape());
  const AttackInput input{x, own_labels(model, x), {}, {}};
  AttackResult results[2];
  for (const Ead::Rule rule : {Ead::Rule::en, Ead::Rule::l1}) {
    AttackResult& r = results[rule == Ead::Rule::l1];
    r = Ead({.rule = rule, .beta = 0.05, .c0 = 1, .c_steps = 5, .iters = 40}).run(model, input);
    for (int64_t row = 0; row < 24; ++row)
      CHECK((r.success.data<uint8_t>()[row] == 1) == (r.first_success.data<int64_t>()[row] > 0));
  }
  int64_t smaller = 0;
  for (int64_t row = 0; row < 24; ++row) {
    const double en = results[0].l1.data<double>()[row], l1 = results[1].l1.data<double>()[row];
    CHECK(l1 <= en);  // the same iterates, chosen by the L1 distance alone
    smaller += l1 < en;
  }
  CHECK(smaller > 0);
}

TEST_CASE("ead: a zero gradient, and a logit that is no number") {
  const Ead::Options options{.c0 = 1, .c_steps = 3, .iters = 20};
  const AttackInput one{Tensor::of<double>({0.5, 0.25}, {1, 1, 1, 2}), classes({0}), {}, {}};
  const AttackResult flat = Ead(options).run(linear_model({0, 0, 0, 0}, {1, 0}), one);
  CHECK(status_of(flat, 0) == Status::zero_grad);
  CHECK(identical(flat.x_adv, one.x));
  const Model huge = linear_model({1e308, 1e308, 0, 0, 0, 1}, {0, 0});
  const AttackInput two{Tensor::of<double>({1, 1, 0}, {1, 1, 1, 3}), classes({0}), {}, {}};
  const AttackResult broken = Ead(options).run(huge, two);
  CHECK(status_of(broken, 0) == Status::nan);
  CHECK(identical(broken.x_adv, two.x));
}

TEST_CASE("ead: profiles, and options out of range") {
  CHECK(make_attack("ead")->repr() == Ead({}).repr());
  CHECK(make_attack("ead:compat=ch21")->repr() == Ead({.beta = 1e-3}).repr());
  CHECK(make_attack("ead:compat=nra,beta=0.5")->repr() ==
        Ead({.beta = 0.5, .iters = 10'000, .abort_early = true}).repr());
  CHECK(error_of([] { Ead({.beta = -1}); }) == "ead: beta = -1, a number in [0, 1e30] expected");
  CHECK(error_of([] { Ead({.kappa = NAN}); }).find("ead: kappa = nan") == 0);
  CHECK(error_of([] { Ead({.c0 = -1}); }).find("ead: c0 = -1") == 0);
  CHECK(error_of([] { Ead({.iters = 0}); }).find("ead: iters = 0") == 0);
  CHECK(error_of([] { Ead({.lr = 0}); }).find("ead: lr = 0") == 0);
}

}  // namespace
}  // namespace hashgrad
