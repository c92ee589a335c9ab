// Growing a perturbation until the prediction changes, and counting what came of it.
#include <cmath>
#include <doctest/doctest.h>

#include "attacks/grow.h"
#include "attacks/growing.h"
#include "attacks/statistics.h"
#include "autograd/ops/arithmetic.h"
#include "defenses/defensive_dropout.h"
#include "tests/attack_models.h"

using namespace hashgrad;
using namespace hashgrad::testing;

namespace {

/// z_0 - z_1 = 2 x_0 - 3 x_1.
Model two_classes() { return linear_model({1, -2, 0, -1, 1, 0}, {0, 0}); }

}  // namespace

TEST_CASE("hfgsm grows eps along one gradient: each row's first change by hand") {
  // Along (-1, 1, 0) the lead of class 0 falls by 5 eps: rows lead by 0.25 and 1.75; the third is class 1 by
  // 0.75, whose lead falls along (1, -1, 0).
  const Tensor x = Tensor::of<double>({0.5, 0.25, 0, 1, 0.0625, 0, 0.75, 0.75, 1}, {3, 1, 1, 3});
  const Growth g = grow_fgsm(two_classes(), x, "ce", {.budgets = {0, 0.0625, 0.125, 0.25, 0.5}});
  CHECK(g.clean == std::vector<int64_t>{0, 0, 1});
  CHECK(g.first_change(0) == 1);
  CHECK(g.first_change(1) == 4);
  CHECK(g.first_change(2) == 3);
  CHECK(g.cumulative(0) == 0);
  CHECK(g.cumulative(1) == 1);
  CHECK(g.cumulative(3) == 2);
  CHECK(g.cumulative(4) == 3);
  CHECK(g.fixed(4) == 3);
  CHECK(g.status == std::vector<Status>(3, Status::ok));
}

TEST_CASE(
    "cumulative success never falls, is at least that of the fixed budget, and needs no later budgets") {
  const Model model = small_net(DType::float64);
  const Tensor x = images(33, model.input_shape(), DType::float64);
  const GrowOptions all{.budgets = {0.05, 0.1, 0.2, 0.4, 0.8}, .batch = 7};
  GrowOptions lean = all;
  lean.fixed = false;
  const GrowOptions features{.budgets = {1, 2, 4, 8, 16, 30}};
  for (const Growth& g : {grow_fgsm(model, x, "ce", all), grow_jsma(model, x, Outputs::probs, features)})
    for (size_t b = 0; b < g.budgets.size(); ++b) {
      CHECK(g.cumulative(b) >= g.fixed(b));
      CHECK((b == 0 || g.cumulative(b) >= g.cumulative(b - 1)));
    }
  const Growth full = grow_fgsm(model, x, "ce", all), cut = grow_fgsm(model, x, "ce", lean);
  for (int64_t i = 0; i < 33; ++i) CHECK(full.first_change(i) == cut.first_change(i));
  CHECK(full.cumulative(4) > 0);
}

TEST_CASE("a budget under which the model gives no answer is no change of its prediction") {
  const Model model = linear_model({0, 0, 1e308, 1e308}, {1, 0});
  const Tensor x = Tensor::zeros({1, 1, 1, 2}, DType::float64);
  const Growth g = grow_fgsm(model, x, "ce", {.budgets = {0, 1}});
  CHECK(g.clean == std::vector<int64_t>{0});
  CHECK(g.predictions == std::vector<int64_t>{0, -1});  // the logit of class 1 is infinite
  CHECK(g.fixed(1) == 0);
  CHECK(g.cumulative(1) == 0);
}

TEST_CASE("hjsma sets the most salient features to 1, best first, and stops when none is left") {
  // Clean class 0; the runner-up is class 2, for which features 1 (3 * 1) and 0 (1 * 1) have saliency.
  const Model model = linear_model({-1, 0, 2, -2, 0, -1, 0, -3, 1, 3, 2, -1}, {2.5, -1, 0});
  const Tensor x = Tensor::zeros({1, 1, 1, 4}, DType::float64);
  CHECK(jsma_images(model, x, Outputs::logits, 1).to_vector<double>() == std::vector<double>{0, 1, 0, 0});
  CHECK(jsma_images(model, x, Outputs::logits, 4).to_vector<double>() == std::vector<double>{1, 1, 0, 0});
  Model faint = model.clone();  // saliencies of 3e-400 and 1e-400
  Tensor weight = faint.parameter("1.weight").value();
  weight.copy_from(weight * 1e-200);
  CHECK(jsma_images(faint, x, Outputs::logits, 1).to_vector<double>() == std::vector<double>{0, 1, 0, 0});
  const Growth g = grow_jsma(model, x, Outputs::logits, {.budgets = {1, 2, 3}});
  CHECK(g.predictions == std::vector<int64_t>{2, 2, 2});
  CHECK(g.first_change(0) == 0);
  const Model firm = linear_model({-1, 0, 2, -2, 0, -1, 0, -3, 1, 3, 2, -1}, {50, -1, 0});
  const Growth none = grow_jsma(firm, x, Outputs::logits, {.budgets = {1, 2, 3}});
  CHECK(none.predictions == std::vector<int64_t>{0, 0, 0});
  CHECK(none.status == std::vector<Status>{Status::no_pair});
}

TEST_CASE("a feature that is white already is not counted as perturbed") {
  const Model model = linear_model({-1, 0, 2, -2, 0, -1, 0, -3, 1, 3, 2, -1}, {50, -1, 0});
  const Tensor x = Tensor::of<double>({0, 1, 0, 0}, {1, 1, 1, 4});
  CHECK(jsma_images(model, x, Outputs::logits, 1).to_vector<double>() == std::vector<double>{1, 1, 0, 0});
}

TEST_CASE("a saturated model has zero gradients in float32, counted, and nothing moves") {
  const Model model = linear_model({1, -2, 0, -1, 1, 0}, {300, 0}, DType::float32);
  const Tensor x = images(5, model.input_shape());
  const Growth g = grow_fgsm(model, x, "ce", {.budgets = {0.1, 0.5}});
  CHECK(g.zero_gradient == std::vector<bool>(5, true));
  CHECK(g.status == std::vector<Status>(5, Status::zero_grad));
  CHECK(g.cumulative(1) == 0);
  CHECK(identical(fgsm_images(model, x, "ce", 0.5), x));
  const Growth exact = grow_fgsm(model, x, "ce-exact", {.budgets = {0.1, 0.5}});
  CHECK(exact.zero_gradient == std::vector<bool>(5, false));
  CHECK_FALSE(identical(fgsm_images(model, x, "ce-exact", 0.5), x));
}

TEST_CASE("budgets that make no sense are refused") {
  const Model model = two_classes();
  const Tensor x = images(1, model.input_shape(), DType::float64);
  const auto fgsm = [&](const std::vector<double>& b) {
    return error_of([&] { grow_fgsm(model, x, "ce", {.budgets = b}); });
  };
  CHECK(fgsm({}) == "grow: no budgets");
  for (const auto& bad : std::vector<std::vector<double>>{{-0.1}, {0.2, 0.1}, {0.1, 0.1}, {1.5}, {NAN}})
    CHECK(fgsm(bad).find("grow: budget") == 0);
  CHECK(error_of([&] {
          grow_jsma(model, x, Outputs::probs, {.budgets = {0}});
        }).find("grow: budget 0 features") == 0);
  CHECK(error_of([&] {
          grow_jsma(model, x, Outputs::probs, {.budgets = {4}});
        }).find("grow: budget 4 features") == 0);
}

TEST_CASE("wilson intervals have the published values") {
  const auto close = [](Interval i, double low, double high) {
    CHECK(i.low == doctest::Approx(low).epsilon(1e-4));
    CHECK(i.high == doctest::Approx(high).epsilon(1e-4));
  };
  close(wilson(81, 263), 0.2553, 0.3662);  // Newcombe, Statistics in Medicine 1998, table I
  close(wilson(15, 148), 0.0624, 0.1605);
  close(wilson(0, 20), 0, 0.1611);
  close(wilson(1, 29), 0.0061, 0.1718);
  CHECK(wilson(20, 20).high == 1);
  CHECK(wilson(0, 0).low == 0);
  CHECK(wilson(0, 0).high == 1);
  CHECK(error_of([] { wilson(3, 2); }) == "wilson: 3 hits in 2 trials");
}

TEST_CASE("rows of one image are one observation of an interval, whatever they are for a share") {
  const Rate rows{18, 36, 9}, images{2, 4};
  CHECK(rows.value() == images.value());
  CHECK(rows.interval().low == images.interval().low);
  CHECK(rows.interval().high == images.interval().high);
  CHECK(Rate{5, 5, 9}.interval().low == Rate{1, 1}.interval().low);
  CHECK(Rate{0, 0, 9}.interval().high == 1);
  const SuccessRates r = success_rates({0, 0, 1, 1}, {0, 0, 0, 0}, {0, 1, 0, 1}, 2);
  for (const Rate& rate : {r.wrong, r.broken, r.changed, r.clean_wrong}) CHECK(rate.per_image == 2);
}

TEST_CASE("the median distance is of what an attack broke, not of what was wrong before") {
  constexpr int64_t ok = static_cast<int64_t>(Status::ok),
                    wrong = static_cast<int64_t>(Status::already_wrong),
                    failed = static_cast<int64_t>(Status::max_iter);
  const Tensor values = Tensor::of<double>({0, 3, 0, 1, 9}, {5}),
               success = Tensor::of<uint8_t>({1, 1, 1, 1, 0}, {5});
  CHECK(median_of_successes(values, success, Tensor::of<int64_t>({wrong, ok, wrong, ok, failed}, {5})) == 3);
  CHECK(median_of_successes(values, success, Tensor::of<int64_t>({wrong, ok, ok, ok, failed}, {5})) == 1);
  CHECK_FALSE(
      median_of_successes(values, success, Tensor::of<int64_t>({wrong, wrong, wrong, wrong, failed}, {5})));
}

TEST_CASE("the three ways to count success differ as they should") {
  const SuccessRates r = success_rates({0, 0, 0, 0, 0}, {0, 0, 0, 1, 1}, {1, 0, 2, 1, 0});
  CHECK(r.wrong.hits == 3);
  CHECK(r.wrong.trials == 5);
  CHECK(r.broken.hits == 2);
  CHECK(r.broken.trials == 3);
  CHECK(r.changed.hits == 3);
  CHECK(r.changed.trials == 5);
  CHECK(r.clean_wrong.value() == doctest::Approx(0.4));
  CHECK(error_of([] { success_rates({0}, {0, 1}, {0}); }).find("success_rates: 1 labels") == 0);
}

TEST_CASE("the gradient histogram keeps zeros, underflow and every decade apart") {
  const double inf = INFINITY;
  const Tensor g =
      Tensor::of<double>({0, 0, 1e-3, -1e-3, 3e-50, 0, 1e-45, 1e-45, 2, 3, inf, 1, 1e9, 1e9}, {7, 1, 1, 2});
  const GradientHistogram h = gradient_histogram(g);
  CHECK(h.images == 7);
  CHECK(h.zeros == 1);
  CHECK(h.below == 1);
  CHECK(h.not_finite == 1);
  const auto at = [&](int decade) {
    return h.counts[static_cast<size_t>(decade - GradientHistogram::first_decade)];
  };
  CHECK(at(-3) == 1);
  CHECK(at(-45) == 1);
  CHECK(at(0) == 1);
  CHECK(at(GradientHistogram::last_decade) == 1);
  CHECK(h.between(1e-10, 1e1).hits == 2);
  CHECK(h.between(1e-10, 1e1).trials == 7);
  CHECK(h.zero_share().hits == 1);
  const Tensor denormal = Tensor::of<float>({1.4e-45F, 0}, {1, 1, 1, 2});
  CHECK(gradient_histogram(denormal).below == 1);  // the mean is 0.7e-45; float32 zeros are zeros only
}

TEST_CASE("growing: a row has the first budget that breaks it, the passes of all before, or the largest") {
  const Model model = small_net(DType::float64);
  const Tensor x = images(33, model.input_shape(), DType::float64);
  const AttackInput input{x, own_labels(model, x), {}, {}};
  const std::vector<double> budgets{0.03, 0.06, 0.1};
  const Growing attack(attack_info("pgd"), {{"iters", "4"}, {"no-random-start", ""}}, budgets, 3);
  const AttackResult r = attack.run(model, input);
  std::vector<AttackResult> own;
  for (const double eps : budgets)
    own.push_back(make_attack(fmt::format("pgd:eps={},iters=4,no-random-start", eps), 3)->run(model, input));
  std::vector<int64_t> broken(budgets.size() + 1, 0);
  for (int64_t i = 0; i < 33; ++i) {
    int64_t forwards = 0;
    size_t b = 0;
    for (; b < budgets.size(); ++b) {
      forwards += own[b].forwards.data<int64_t>()[i];
      if (own[b].success.data<uint8_t>()[i]) break;
    }
    ++broken[b];
    const size_t last = std::min(b, budgets.size() - 1);
    CHECK(r.first_success.data<int64_t>()[i] == (b == budgets.size() ? -1 : static_cast<int64_t>(b) + 1));
    CHECK(r.forwards.data<int64_t>()[i] == forwards);
    CHECK(
        identical(r.x_adv.slice(0, i, i + 1).contiguous(), own[last].x_adv.slice(0, i, i + 1).contiguous()));
  }
  CAPTURE(broken[0]);
  CAPTURE(broken[1]);
  CAPTURE(broken[2]);
  CAPTURE(broken[3]);
  for (const int64_t rows : broken) CHECK(rows > 0);
}

TEST_CASE("growing: a network that draws counts exactly its successes, whichever draws saw them") {
  Model model("1x6x6 flatten fc64 relu fc64 relu fc5", {.seed = 3});
  defensive_dropout(model, 0.7, "all");
  const Tensor x = images(300, model.input_shape());
  const Tensor y = classes(Oracle::judge(model).predict(x));
  const AttackResult r = Growing(attack_info("fgsm"), {}, {0.02, 0.04}, 0).run(model, {x, y, {}, {}});
  OracleOptions rehearsal;
  rehearsal.draws.rehearsal = true;
  const AttackResult small = make_attack("fgsm:eps=0.02")->run(model, {x, y, {}, {}}, rehearsal);
  int64_t successes = 0, misjudged = 0;
  for (int64_t i = 0; i < 300; ++i) {
    const bool success = r.success.data<uint8_t>()[i] == 1, rehearsed = small.success.data<uint8_t>()[i] == 1;
    CHECK(success == (r.first_success.data<int64_t>()[i] >= 0));
    successes += success;
    misjudged += rehearsed && !success;
    if (rehearsed)
      CHECK(identical(r.x_adv.slice(0, i, i + 1).contiguous(), small.x_adv.slice(0, i, i + 1).contiguous()));
  }
  CHECK(successes > 0);
  CHECK(misjudged > 0);  // the draws that chose the budget are not those that judge
}

TEST_CASE("growing: jsma grows its share of features; attacks without a budget and bad budgets are refused") {
  const Model model = small_net(DType::float64);
  const Tensor x = images(9, model.input_shape(), DType::float64);
  const Tensor y = own_labels(model, x);
  Tensor targets = y.clone();
  for (int64_t i = 0; i < 9; ++i) targets.data<int64_t>()[i] = (y.data<int64_t>()[i] + 1) % 5;
  const Growing jsma(attack_info("jsma"), {}, {0.06, 0.3}, 0);
  const AttackResult r = jsma.run(model, {x, y, targets, {}});
  int64_t small = 0;
  for (int64_t i = 0; i < 9; ++i) {
    small += r.first_success.data<int64_t>()[i] == 1;
    CHECK((r.first_success.data<int64_t>()[i] != 1 || r.l0.data<double>()[i] <= 0.06 * 36));
  }
  CHECK(small > 0);
  const auto refusal = [](const char* name, const std::map<std::string, std::string>& given,
                          const std::vector<double>& budgets) {
    return error_of([&] { Growing(attack_info(name), given, budgets, 0); });
  };
  CHECK(refusal("cw-l2", {}, {0.1}) == "cw-l2: has no budget to grow, neither eps nor gamma");
  CHECK(refusal("pgd", {}, {}) == "growing pgd: no budgets");
  CHECK(refusal("pgd", {}, {0.2, 0.1}) == "growing pgd: budget 0.1 after 0.2, ascending ones expected");
  CHECK(refusal("pgd", {{"eps", "0.3"}}, {0.1}) ==
        "growing pgd: eps is given beside the budgets, which are its values");
}
