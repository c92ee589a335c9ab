// Carlini and Wagner's Linf attack: a transcription that shares no code with it, closed forms, and the known
// mistakes of other implementations.
#include <cmath>
#include <doctest/doctest.h>

#include "attacks/constant_search.h"
#include "attacks/cw_linf.h"
#include "tests/naive_lead.h"

namespace hashgrad {
namespace {

using namespace testing;

NaiveResult naive_cw_linf(const NaiveModel& net, const Pixels& image, const CwLinf::Options& o) {
  NaiveResult result{image};
  NaiveTanhAdam adam(image);
  const Pixels anchor = adam.image();
  double tau = 1, c = o.c0;
  int64_t at_this_c = 0, tried = 0;
  while (tau > 1.0 / 256 && tried < o.c_steps) {
    const Pixels x = adam.image();
    const NaiveModel::Lead lead = net.lead(x);
    ++result.passes;
    const double far = largest_difference(x, image);
    if (lead.value >= o.kappa && far < result.distance) result.distance = far, result.best = x;
    double excess = 0;
    for (size_t i = 0; i < x.size(); ++i) excess += std::max(0.0, std::abs(x[i] - anchor[i]) - tau);
    if (lead.value >= o.kappa && excess < 1e-4 * c) {
      tau = std::min(tau, far) * o.tau_factor;
      at_this_c = 0;
      const Pixels w = adam.w;
      adam = NaiveTanhAdam(image);
      adam.w = w;
      if (tau <= 1.0 / 256) break;
    }
    Pixels gradient;
    for (size_t i = 0; i < x.size(); ++i) {
      const double d = x[i] - anchor[i];
      gradient.push_back((d > tau    ? 1
                          : d < -tau ? -1
                                     : 0) -
                         (lead.value < o.kappa ? c * lead.gradient[i] : 0));
    }
    adam.step(gradient, o.lr, o.adam_eps == AdamEps::tf1);
    if (++at_this_c == o.iters) c *= 2, at_this_c = 0, ++tried;
  }
  return result;
}

TEST_CASE("cw-linf: as an independent transcription of the published algorithm") {
  const CwLinf::Options plain{.c0 = 1e-3, .c_steps = 12, .iters = 30, .lr = 0.02};
  std::vector<CwLinf::Options> cases(3, plain);
  cases[1].adam_eps = AdamEps::corrected, cases[1].kappa = 0.5;
  cases[2].tau_factor = 0.7, cases[2].c0 = 0.05;
  for (const int64_t target : {-1, 1, 2})
    for (const CwLinf::Options& options : cases) {
      const NaiveModel net = naive_model(target);
      const NaiveResult expected = naive_cw_linf(net, naive_image, options);
      const AttackResult r = CwLinf(options).run(net.model(), net.input(naive_image));
      CAPTURE(CwLinf(options).repr());
      CAPTURE(target);
      REQUIRE(expected.distance < 1);
      CHECK(largest_difference(r.x_adv.to_vector<double>(), expected.best) < 1e-11);
      CHECK(r.forwards.data<int64_t>()[0] == expected.passes + 1);
      CHECK(r.backwards.data<int64_t>()[0] == expected.passes);
    }
}

TEST_CASE("cw-linf: the distance to the boundary of two classes is |w x + b| / ||w||_1") {
  const Model model = linear_model({1, -2, 0, -1, 1, 0}, {0, 0});
  const AttackInput input{Tensor::of<double>({0.625, 0.25, 0.5}, {1, 1, 1, 3}), classes({0}), {}, {}};
  const AttackResult r =
      CwLinf({.c0 = 0.01, .c_steps = 8, .iters = 100, .tau_factor = 0.995}).run(model, input);
  CHECK(r.success.data<uint8_t>()[0] == 1);
  CHECK(r.linf.data<double>()[0] >= 0.1);
  CHECK(r.linf.data<double>()[0] < 1.01 * 0.1);
}

TEST_CASE("cw-linf: targeted, a prediction that is merely wrong is no success") {
  // On the way from class 0 to class 2 lies class 1.
  const Model model = linear_model({0, 4, 8}, {3, 1.5, -1.5});
  const AttackInput input{Tensor::of<double>({0.125}, {1, 1, 1, 1}), classes({0}), classes({2}), {}};
  const AttackResult r = CwLinf({.c0 = 0.1, .c_steps = 6, .iters = 100, .lr = 0.02}).run(model, input);
  CHECK(r.success.data<uint8_t>()[0] == 1);
  CHECK(r.linf.data<double>()[0] >= 0.625);  // 8 x - 1.5 > 4 x + 1.5
  CHECK(r.linf.data<double>()[0] < 0.63);
}

TEST_CASE("cw-linf: a zero gradient, a logit that is no number, and a row that cannot succeed") {
  const CwLinf::Options options{.c0 = 0.1, .c_steps = 3, .iters = 20, .lr = 0.02};
  const AttackInput one{Tensor::of<double>({0.5, 0.25}, {1, 1, 1, 2}), classes({0}), {}, {}};
  const AttackResult flat = CwLinf(options).run(linear_model({0, 0, 0, 0}, {1, 0}), one);
  CHECK(status_of(flat, 0) == Status::zero_grad);
  CHECK(identical(flat.x_adv, one.x));
  const AttackResult far = CwLinf(options).run(linear_model({1, 0, 0, 0}, {5, 0}), one);
  CHECK(status_of(far, 0) == Status::max_iter);
  CHECK(identical(far.x_adv, one.x));
  CHECK(far.backwards.data<int64_t>()[0] == 3 * 20);
  const Model huge = linear_model({1e308, 1e308, 0, 0, 0, 1}, {0, 0});
  const AttackInput two{Tensor::of<double>({1, 1, 0, 0, 0, 0.5}, {2, 1, 1, 3}), classes({0, 1}), {}, {}};
  const AttackResult broken = CwLinf(options).run(huge, two);
  CHECK(status_of(broken, 0) == Status::nan);
  CHECK(status_of(broken, 1) == Status::ok);
}

TEST_CASE("cw-linf: c doubles to 1e10 and no further") {
  DoubledConstant state{.c = 1};
  const ConstantOptions options{.c0 = 1, .c_steps = 100, .iters = 1};
  int64_t steps = 1;
  for (; state.unsolved(options); ++steps)
    CHECK(state.c == std::min(std::ldexp(1.0, static_cast<int>(steps)), 1e10));
  CHECK(steps == 100);
}

TEST_CASE("cw-linf: options out of range are refused by name") {
  CHECK(error_of([] { CwLinf({.kappa = -1}); }) == "cw-linf: kappa = -1, a number in [0, 1e30] expected");
  CHECK(error_of([] { CwLinf({.c0 = NAN}); }) == "cw-linf: c0 = nan, a number in (0, 1e10] expected");
  CHECK(error_of([] { CwLinf({.c_steps = 0}); }).find("cw-linf: c_steps = 0") == 0);
  CHECK(error_of([] { CwLinf({.lr = 0}); }).find("cw-linf: lr = 0") == 0);
  for (const double factor : {0.0, 1.0})
    CHECK(error_of([&] { CwLinf({.tau_factor = factor}); }).find("cw-linf: tau_factor = ") == 0);
}

}  // namespace
}  // namespace hashgrad
