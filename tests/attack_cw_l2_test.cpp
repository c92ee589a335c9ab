// Carlini and Wagner's L2 attack: a transcription that shares no code with it, closed forms, and the known
// mistakes of other implementations.
#include <cmath>
#include <doctest/doctest.h>
#include <limits>

#include "attacks/cw_l2.h"
#include "attacks/lead.h"
#include "tests/naive_lead.h"

namespace hashgrad {
namespace {

using namespace testing;

NaiveResult naive_cw(const NaiveModel& net, const Pixels& image, const CwL2::Options& o) {
  NaiveResult result{image};
  double c = o.c0, lower = 0, upper = 1e10;
  for (int64_t step = 0; step < o.c_steps; ++step) {
    NaiveTanhAdam adam(image);
    const Pixels anchor = adam.image();
    double previous = 1e300;
    bool found = false;
    if (o.c_steps >= 10 && step == o.c_steps - 1) c = upper;
    for (int64_t iter = 0; iter < o.iters; ++iter) {
      const Pixels x = adam.image();
      const NaiveModel::Lead lead = net.lead(x);
      ++result.passes;
      double far = 0, true_far = 0;
      for (size_t i = 0; i < x.size(); ++i) {
        far += std::pow(x[i] - anchor[i], 2);
        true_far += std::pow(x[i] - image[i], 2);
      }
      const double loss = far + c * std::max(0.0, o.kappa - lead.value);
      if (o.abort_early && iter % std::max<int64_t>(1, o.iters / 10) == 0) {
        if (loss > previous * 0.9999) break;
        previous = loss;
      }
      if (lead.value >= o.kappa) {
        found = true;
        if (result.first < 0) result.first = result.passes;
        if (true_far < result.distance) result.distance = true_far, result.best = x;
      }
      Pixels gradient;
      for (size_t i = 0; i < x.size(); ++i)
        gradient.push_back(2 * (x[i] - anchor[i]) - (lead.value < o.kappa ? c * lead.gradient[i] : 0));
      adam.step(gradient, o.lr, o.adam_eps == AdamEps::tf1);
    }
    (found ? upper : lower) = c;
    c = upper < 1e9 ? (lower + upper) / 2 : 10 * c;
  }
  return result;
}

double l2(const AttackResult& r, int64_t row = 0) { return r.l2.data<double>()[row]; }
bool success(const AttackResult& r, int64_t row = 0) { return r.success.data<uint8_t>()[row] == 1; }

TEST_CASE("cw-l2: as an independent transcription of the published algorithm") {
  const CwL2::Options plain{.c0 = 0.01, .c_steps = 6, .iters = 50, .lr = 0.2, .abort_early = false};
  std::vector<CwL2::Options> cases(4, plain);
  cases[1].abort_early = true;
  cases[2].adam_eps = AdamEps::corrected, cases[2].kappa = 0.5;
  cases[3].c_steps = 11, cases[3].iters = 37;
  for (const int64_t target : {-1, 1, 2})
    for (const CwL2::Options& options : cases) {
      const NaiveModel net = naive_model(target);
      const NaiveResult expected = naive_cw(net, naive_image, options);
      const AttackResult r = CwL2(options).run(net.model(), net.input(naive_image));
      CAPTURE(CwL2(options).repr());
      CAPTURE(target);
      REQUIRE(expected.distance < 10);
      CHECK(largest_difference(r.x_adv.to_vector<double>(), expected.best) < 1e-12);
      CHECK(r.forwards.data<int64_t>()[0] == expected.passes + 1);  // one more for the clean image
      CHECK(r.backwards.data<int64_t>()[0] == expected.passes);
      CHECK(r.first_success.data<int64_t>()[0] == expected.first);
    }
}

TEST_CASE("cw-l2: an iterate that ends its step for want of progress is not looked at") {
  const CwL2::Options options{
      .c0 = 0.01, .c_steps = 4, .iters = 10, .lr = 1};  // succeeds at once, at a greater loss
  const NaiveResult expected = naive_cw(naive_model(), naive_image, options);
  const AttackResult r = CwL2(options).run(naive_model().model(), naive_model().input(naive_image));
  REQUIRE(expected.first > 2);
  CHECK(r.first_success.data<int64_t>()[0] == expected.first);
  CHECK(r.backwards.data<int64_t>()[0] == expected.passes);
}

TEST_CASE("cw-l2: the distance to the boundary of two classes is |w x + b| / ||w||") {
  const Model model = linear_model({1, -2, 0, -1, 1, 0}, {0, 0});
  const AttackInput input{Tensor::of<double>({0.625, 0.25, 0.5}, {1, 1, 1, 3}), classes({0}), {}, {}};
  const CwL2 attack({.c0 = 0.1, .c_steps = 9, .iters = 300, .lr = 0.01});
  const AttackResult r = attack.run(model, input);
  CHECK(success(r));
  const double exact = 0.5 / std::sqrt(13);
  CHECK(l2(r) >= exact);
  CHECK(l2(r) < 1.01 * exact);

  const AttackResult sure =
      CwL2({.kappa = 0.75, .c0 = 0.1, .c_steps = 9, .iters = 300, .lr = 0.01}).run(model, input);
  CHECK(l2(sure) >= 1.25 / std::sqrt(13));  // the lead is kappa at least, and hardly more
  CHECK(l2(sure) < 1.01 * 1.25 / std::sqrt(13));
}

TEST_CASE("cw-l2: more values of c never make the result worse") {
  const Model model = small_net(DType::float64);
  const Tensor x = images(12, model.input_shape(), DType::float64);
  const AttackInput input{x, own_labels(model, x), {}, {}};
  std::vector<double> last(12, std::numeric_limits<double>::infinity());
  for (const int64_t c_steps : {1, 3, 5}) {
    const AttackResult r = CwL2({.c0 = 1, .c_steps = c_steps, .iters = 30, .lr = 0.05}).run(model, input);
    for (int64_t row = 0; row < 12; ++row)
      if (success(r, row)) {
        CHECK(l2(r, row) <= last[static_cast<size_t>(row)]);
        last[static_cast<size_t>(row)] = l2(r, row);
      } else {
        CHECK(last[static_cast<size_t>(row)] == std::numeric_limits<double>::infinity());
      }
  }
}

TEST_CASE("cw-l2: pixels of exactly 0 and 1 move") {  // without 0.999999 their w is infinite and they stay
  for (const DType dtype : {DType::float32, DType::float64}) {
    const Model model = linear_model({1, -2, -1, 1}, {0.25, 0}, dtype);
    const AttackInput input{Tensor::of<double>({1, 0}, {1, 1, 1, 2}).to(dtype), classes({0}), {}, {}};
    const AttackResult r = CwL2({.c0 = 1, .iters = 100, .lr = 0.2, .abort_early = false}).run(model, input);
    CHECK(success(r));
    const std::vector<double> moved = r.x_adv.to(DType::float64).to_vector<double>();
    CHECK(moved[0] < 0.9);
    CHECK(moved[1] > 0.1);
  }
}

TEST_CASE("cw-l2: where the logits stand does not matter, all negative or below -10000") {
  const CwL2 attack({.c0 = 0.1, .iters = 50, .lr = 0.2});
  NaiveModel net = naive_model();
  const AttackResult before = attack.run(net.model(), net.input(naive_image));
  REQUIRE(success(before));
  for (double& b : net.bias) b -= 65536;
  const AttackResult after = attack.run(net.model(), net.input(naive_image));
  CHECK(largest_difference(before.x_adv.to_vector<double>(), after.x_adv.to_vector<double>()) < 1e-6);
}

TEST_CASE("cw-l2: enlarged logits do not end the search at its first iteration") {  // a loss above 1e6 did
  NaiveModel net = naive_model();
  for (std::vector<double>* part : {&net.weight, &net.bias})
    for (double& value : *part) value *= 1e10;
  const AttackResult r = CwL2({.iters = 200, .lr = 0.1}).run(net.model(), net.input(naive_image));
  CHECK(success(r));
  CHECK(l2(r) < 0.5);
}

TEST_CASE("cw-l2: a zero gradient, a logit that is no number, and rows that are wrong already") {
  const CwL2::Options options{.c0 = 1, .c_steps = 2, .iters = 20, .lr = 0.05};
  const AttackInput one{Tensor::of<double>({0.5, 0.25}, {1, 1, 1, 2}), classes({0}), {}, {}};
  const AttackResult flat = CwL2(options).run(linear_model({0, 0, 0, 0}, {1, 0}), one);
  CHECK(status_of(flat, 0) == Status::zero_grad);
  CHECK(identical(flat.x_adv, one.x));
  CHECK(flat.backwards.data<int64_t>()[0] == 1);

  const Model huge = linear_model({1e308, 1e308, 0, 0, 0, 1}, {0, 0});
  const AttackInput two{Tensor::of<double>({1, 1, 0, 0, 0, 0.5}, {2, 1, 1, 3}), classes({0, 1}), {}, {}};
  const AttackResult broken = CwL2(options).run(huge, two);
  CHECK(status_of(broken, 0) == Status::nan);
  CHECK(identical(broken.x_adv.slice(0, 0, 1).contiguous(), two.x.slice(0, 0, 1).contiguous()));
  CHECK(status_of(broken, 1) == Status::ok);

  const Model model = linear_model({1, 0, 0, 1}, {0, 0.25});
  const AttackInput wrong{Tensor::of<double>({0.25, 0.5}, {1, 1, 1, 2}), classes({0}), {}, {}};  // lead 0.5
  const AttackResult left = CwL2(options).run(model, wrong);
  CHECK(status_of(left, 0) == Status::already_wrong);
  CHECK(identical(left.x_adv, wrong.x));
  CwL2::Options sure = options;
  sure.kappa = 0.75;  // wrong, but not by enough
  const AttackResult pushed = CwL2(sure).run(model, wrong);
  CHECK(status_of(pushed, 0) == Status::already_wrong);
  CHECK(pushed.first_success.data<int64_t>()[0] == 0);
  const std::vector<double> z = Oracle(model).logits(pushed.x_adv).to_vector<double>();
  CHECK(z[1] - z[0] >= 0.75);
}

TEST_CASE("cw-l2: profiles, and what was asked for besides") {
  CHECK(make_attack("cw-l2")->repr() == CwL2({}).repr());
  CHECK(make_attack("cw_l2:compat=nra,iters=7")->repr() ==
        CwL2({.c0 = 1e-3, .c_steps = 9, .iters = 7, .lr = 1e-2}).repr());
  CHECK(make_attack("cw-l2:compat=foolbox3,lr=1,abort-early=no")->repr() ==
        CwL2({.c0 = 1e-3,
              .c_steps = 9,
              .iters = 10'000,
              .lr = 1,
              .abort_early = false,
              .adam_eps = AdamEps::corrected})
            .repr());
}

TEST_CASE("cw-l2: options out of range are refused by name") {
  CHECK(error_of([] { CwL2({.kappa = -1}); }) == "cw-l2: kappa = -1, a number in [0, 1e30] expected");
  CHECK(error_of([] { CwL2({.c0 = 0}); }) == "cw-l2: c0 = 0, a number in (0, 1e10] expected");
  CHECK(error_of([] { CwL2({.c_steps = 0}); }).find("cw-l2: c_steps = 0") == 0);
  CHECK(error_of([] { CwL2({.iters = 0}); }).find("cw-l2: iters = 0") == 0);
  CHECK(error_of([] { CwL2({.lr = NAN}); }) == "cw-l2: lr = nan, a number in (0, 1e30] expected");
}

TEST_CASE("the search on c: ten values or more repeat the smallest that succeeded, fewer do not") {
  for (const int64_t c_steps : {9, 10}) {
    const ConstantOptions options{1, c_steps, 1};
    BisectedConstant search{.c = 1};
    search.found = true;  // under the first c alone, so that the others are halves of the way to it
    std::vector<double> tried;
    do tried.push_back(search.c);
    while (search.next_step(options) && std::ssize(tried) < c_steps);
    CHECK(tried[1] == 0.5);
    CHECK(tried[7] == 1 - 0x1p-7);
    CHECK(tried.back() == (c_steps == 10 ? 1 : 1 - 0x1p-8));
  }
}

TEST_CASE("the search on c: a tenth of the iterations that gains a ten-thousandth goes on") {
  const ConstantOptions options{.c0 = 1, .c_steps = 1, .iters = 10, .abort_early = true};
  BisectedConstant search{.c = 1};
  CHECK_FALSE(search.stalled(options, 1));       // nothing to compare with
  CHECK_FALSE(search.stalled(options, 0.9995));  // five ten-thousandths less
  CHECK(search.stalled(options, 0.99945));       // half a ten-thousandth less
}

TEST_CASE("of candidates equally near the first is kept, and of none that is nowhere") {
  const Model model = linear_model({1, -1}, {0, 0.5});
  const AttackInput input{Tensor::full({1, 1, 1, 1}, 0.5, DType::float64), classes({0}), {}, {0}};
  Nearest nearest(Oracle(model), input, 0);
  using Candidate = std::pair<double, double>;  // distance, image
  for (const auto& [distance, pixel] :
       {Candidate{0.3, 0.1}, Candidate{0.3, 0.2}, Candidate{0.4, 0.3}, Candidate{NAN, 0.4}})
    nearest.offer(0, distance, &pixel);
  CHECK(nearest.take().x_adv.item() == 0.1);
}

}  // namespace
}  // namespace hashgrad
