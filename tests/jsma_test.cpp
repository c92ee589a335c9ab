// The saliency attack: its search, its rules, its stops.
#include "attacks/jsma.h"

#include <doctest/doctest.h>

#include "attacks/saliency.h"
#include "attacks/target.h"
#include "tests/attack_models.h"

using namespace hashgrad;
using namespace hashgrad::testing;

namespace {

using Pair = std::optional<std::pair<int64_t, int64_t>>;

/// The definition, over all pairs.
Pair pair_by_force(const std::vector<float>& rise, const std::vector<float>& drop,
                   const std::vector<bool>& free, double direction) {
  Pair best;
  double best_score = 0;
  for (size_t p = 0; p < rise.size(); ++p)
    for (size_t q = p + 1; q < rise.size(); ++q) {
      if (!free[p] || !free[q]) continue;
      const double up = direction * (double{rise[p]} + double{rise[q]});
      const double down = direction * (double{drop[p]} + double{drop[q]});
      if (up > 0 && down > 0 && (!best || up * down > best_score))
        best = {static_cast<int64_t>(p), static_cast<int64_t>(q)}, best_score = up * down;
    }
  return best;
}

/// Class 2 is the target of the hand-derived cases: rise (1,3,2,-1), drop (1,1,-2,5).
Model three_classes(double lead) {
  return linear_model({-1, 0, 2, -2, 0, -1, 0, -3, 1, 3, 2, -1}, {lead, 0, 0});
}

AttackInput dark_image(int64_t label, int64_t target) {
  return {Tensor::zeros({1, 1, 1, 4}, DType::float64), classes({label}), classes({target}), {}};
}

}  // namespace

TEST_CASE("the fast pair search finds what the search over all pairs finds") {
  Random random(11, Stream::test);
  int64_t found = 0;
  for (int round = 0; round < 600; ++round) {
    const size_t n = size_t{1} + random.below(60);
    std::vector<float> rise(n), drop(n);
    std::vector<bool> free(n);
    const bool ties = round % 3 == 0;  // small integers: many equal scores
    for (size_t i = 0; i < n; ++i) {
      rise[i] = ties ? static_cast<float>(random.below(5)) - 2 : static_cast<float>(random.normal());
      drop[i] = ties ? static_cast<float>(random.below(5)) - 2 : static_cast<float>(random.normal());
      if (round % 5 == 0) drop[i] = rise[i];
      free[i] = random.below(8) > 0;
    }
    for (const double direction : {1.0, -1.0}) {
      const Pair expected = pair_by_force(rise, drop, free, direction);
      CHECK(best_pair(rise.data(), drop.data(), free, direction) == expected);
      found += expected.has_value();
    }
  }
  CHECK(found > 600);
}

TEST_CASE("the best feature needs a rise and a drop") {
  const std::vector<float> rise{5, 3, 2, -1}, drop{-1, 1, 1.5, 5};
  const std::vector<bool> all(4, true);
  CHECK(best_feature(rise.data(), drop.data(), all, 1) == 1);  // 3 * 1 = 2 * 1.5: the first
  CHECK(best_feature(rise.data(), drop.data(), {true, false, true, true}, 1) == 2);
  CHECK_FALSE(best_feature(rise.data(), drop.data(), all, -1).has_value());
  CHECK_FALSE(best_feature(rise.data(), drop.data(), std::vector<bool>(4, false), 1).has_value());
}

TEST_CASE("features are ranked alike however small or large their slopes are") {
  const std::vector<double> rise{1, 3, 2, -1}, drop{4, 1, 3, 5};
  const std::vector<bool> all(4, true);
  for (const double size : {1.0, 1e-200, 5e-308, 1e200}) {
    CAPTURE(size);
    std::vector<double> up = rise, down = drop;
    for (size_t i = 0; i < up.size(); ++i) up[i] *= size, down[i] *= size;
    CHECK(best_feature(up.data(), down.data(), all, 1) == 2);          // 2 * 3
    CHECK(best_pair(up.data(), down.data(), all, 1) == Pair({0, 2}));  // 3 * 7, the others at most 4 * 5
  }
}

TEST_CASE("the pair rule changes the pair that was derived by hand") {
  const AttackResult r =
      Jsma({.on = Outputs::logits, .gamma = 0.5}).run(three_classes(0.5), dark_image(0, 2));  // one step
  CHECK(r.x_adv.to_vector<double>() == std::vector<double>{0, 1, 0, 1});  // (3 - 1) * (1 + 5) = 12
  CHECK(r.success.data<uint8_t>()[0] == 1);                               // logits -2 + 0.5, -3, 2
  CHECK(r.first_success.data<int64_t>()[0] == 1);
  CHECK(r.l0.data<double>()[0] == 2);
  CHECK(r.forwards.data<int64_t>()[0] == 2);
  CHECK(r.backwards.data<int64_t>()[0] == 2);  // two cotangents, once
}

TEST_CASE("the single rule changes one feature at a time and stops when none is left") {
  const AttackResult r = Jsma({.rule = Jsma::Rule::single, .on = Outputs::logits, .gamma = 1})
                             .run(three_classes(100), dark_image(0, 2));
  CHECK(r.x_adv.to_vector<double>() ==
        std::vector<double>{1, 1, 0, 0});  // 1, then 0; the others have no saliency
  CHECK(status_of(r, 0) == Status::no_pair);
  CHECK(r.success.data<uint8_t>()[0] == 0);
}

TEST_CASE("negative theta darkens what speaks against the target") {
  AttackInput input = dark_image(0, 2);
  input.x.fill(1);
  // Lowering: rise (-1,-3,-2,1), drop (-1,-1,2,-5); no pair has both sums positive.
  const AttackResult none =
      Jsma({.on = Outputs::logits, .theta = -1, .gamma = 1}).run(three_classes(100), input);
  CHECK(identical(none.x_adv, input.x));
  CHECK(status_of(none, 0) == Status::no_pair);
  const Model turned = linear_model({0, 1, 0, -1}, {5, 0});  // target 1: rise (0,-1), drop (0,-1)
  const AttackInput lit{Tensor::of<double>({1, 0.75}, {1, 1, 1, 2}), classes({0}), classes({1}), {}};
  const AttackResult r =
      Jsma({.rule = Jsma::Rule::single, .on = Outputs::logits, .theta = -0.5, .gamma = 1}).run(turned, lit);
  CHECK(r.x_adv.to_vector<double>() ==
        std::vector<double>{1, 0});  // 0.75, 0.25, 0: saturated, out of the search
  CHECK(r.linf.data<double>()[0] == 0.75);
}

TEST_CASE("on probabilities the rise of the target is the drop of all others") {
  const Model model = small_net(DType::float64);
  const Tensor x = images(3, model.input_shape(), DType::float64);
  const Tensor all = jacobian(model, x, Outputs::probs);
  const Saliency map = saliency(Oracle(model), x, classes({1, 2, 3}), Outputs::probs);
  for (int64_t n = 0; n < 3; ++n)
    for (int64_t i = 0; i < 36; ++i) {
      double others = 0;
      for (int64_t k = 0; k < 5; ++k)
        if (k != n + 1) others += all.data<double>()[(n * 5 + k) * 36 + i];
      CHECK(map.drop.data<double>()[n * 36 + i] == doctest::Approx(-others).epsilon(1e-9).scale(1e-6));
      CHECK(map.rise.data<double>()[n * 36 + i] ==
            doctest::Approx(all.data<double>()[(n * 5 + n + 1) * 36 + i]).epsilon(1e-9).scale(1e-6));
    }
}

TEST_CASE("gamma counts steps: half the features in pairs, all of them one by one") {
  CHECK(Jsma({.gamma = 0.1}).steps(784) == 39);
  CHECK(Jsma({.rule = Jsma::Rule::single, .gamma = 0.1}).steps(784) == 78);
  CHECK(Jsma({.rule = Jsma::Rule::single, .gamma = 0.29}).steps(100) == 29);
  CHECK(Jsma({.gamma = 1}).steps(3) == 1);
}

TEST_CASE("jsma by ART's rule: the target's two largest slopes, again and again; gamma counts features") {
  const Model model = three_classes(100);
  const AttackResult one =
      Jsma({.rule = Jsma::Rule::rise, .on = Outputs::logits, .gamma = 0.25}).run(model, dark_image(0, 2));
  CHECK(one.x_adv.to_vector<double>() == std::vector<double>{0, 1, 1, 0});  // the pair rule: 1 and 3
  CHECK(status_of(one, 0) == Status::max_iter);  // two of four features are over 1/4
  CHECK(one.backwards.data<int64_t>()[0] == 4);  // two cotangents for the step, and for the map after it
  // Features 1 and 2 rise by 0.1 until they are white; then 0 and 3 make it four of four, over one half.
  const std::vector<double> x =
      make_attack("jsma:compat=art,gamma=0.5")->run(model, dark_image(0, 2)).x_adv.to_vector<double>();
  CHECK(x == std::vector<double>{0.1, 1, 1, 0.1});
  const AttackResult flat =
      Jsma({.rule = Jsma::Rule::rise, .gamma = 1})
          .run(linear_model({0, 0, 0, 0}, {1, 0}),
               {Tensor::zeros({1, 1, 1, 2}, DType::float64), classes({0}), classes({1}), {}});
  CHECK(status_of(flat, 0) == Status::zero_grad);
}

TEST_CASE("jsma by other libraries' rules: a feature once, white features, and half a pair more") {
  const Model model = three_classes(100);
  const auto made = [&](const std::string& spec, const std::vector<double>& pixels) {
    AttackInput input = dark_image(0, 2);
    input.x = Tensor::of(pixels, {1, 1, 1, 4});
    return make_attack("jsma:" + spec)->run(model, input).x_adv.to_vector<double>();
  };
  using Row = std::vector<double>;
  // The pair is 1 and 3; without them no other is admissible.
  CHECK(made("on=logits,theta=0.25,gamma=1", {0, 0, 0, 0}) == Row{0, 0.5, 0, 0.5});  // two steps
  CHECK(made("compat=ch31,theta=0.25", {0, 0, 0, 0}) == Row{0, 0.25, 0, 0.25});
  // Feature 1 is white, or nearly: the pair is then 2 and 3, unless that is not looked at.
  CHECK(made("on=logits,gamma=0.5", {0, 1, 0, 0}) == Row{0, 1, 1, 1});
  CHECK(made("compat=advertorch,gamma=0.5", {0, 1, 0, 0}) == Row{0, 1, 0, 1});
  CHECK(made("compat=ch31,gamma=0.5", {0, 0.995, 0, 0}) == Row{0, 1, 0, 1});
  CHECK(made("compat=ta35,gamma=0.5", {0, 0.995, 0, 0}) == Row{0, 0.995, 1, 1});
  CHECK(Jsma({.gamma = 0.1, .round_up = true}).steps(784) == 40);
  CHECK(Jsma({.gamma = 0.5, .round_up = true}).steps(784) == 196);
}

TEST_CASE("jsma: profiles are the defaults of the libraries") {
  const auto is = [](const char* spec, const Jsma::Options& options) {
    CHECK(make_attack(spec)->repr() == Jsma(options).repr());
  };
  is("jsma", {});
  for (const char* spec : {"jsma:compat=ch20", "jsma:compat=ch21"}) is(spec, {.gamma = 1, .once = true});
  is("jsma:compat=ch31", {.on = Outputs::logits, .gamma = 1, .once = true});
  is("jsma:compat=art", {.rule = Jsma::Rule::rise, .on = Outputs::logits, .theta = 0.1, .gamma = 1});
  is("jsma:compat=ta35", {.on = Outputs::logits, .gamma = 0.1, .once = true, .full = 0.99, .round_up = true});
  is("jsma:compat=advertorch,gamma=0.2,on=probs", {.gamma = 0.2, .once = true, .full = 2});
}

TEST_CASE("a row that predicts its target already is left alone") {
  const AttackResult r =
      Jsma({}).run(linear_model({0, 0, 0, 0}, {1, 0}),
                   {Tensor::zeros({1, 1, 1, 2}, DType::float64), classes({1}), classes({0}), {}});
  CHECK(status_of(r, 0) == Status::already_wrong);
  CHECK(r.first_success.data<int64_t>()[0] == 0);
  CHECK(r.l0.data<double>()[0] == 0);
}

TEST_CASE("jsma refuses options out of range") {
  for (const double theta : {0.0, 1.5, -2.0, double{NAN}})
    CHECK(error_of([&] { Jsma({.theta = theta}); }).find("jsma: theta = ") == 0);
  for (const double gamma : {0.0, 1.5, -1.0, double{NAN}})
    CHECK(error_of([&] { Jsma({.gamma = gamma}); }).find("jsma: gamma = ") == 0);
  CHECK(parse_jsma_rule("single") == Jsma::Rule::single);
  CHECK(error_of([] { parse_jsma_rule("triple"); }) == "jsma: rule 'triple' is none of pair, single, rise");
}

TEST_CASE("target rules choose the class they name, never the label") {
  const Tensor z = Tensor::of<double>({5, 1, 4, 1, 3, 0, 9, 9}, {2, 4});
  const Tensor y = classes({0, 3});
  const auto chosen = [&](const char* rule) {
    return choose_targets(parse_target_rule(rule), z, y).to_vector<int64_t>();
  };
  CHECK(chosen("next") == std::vector<int64_t>{1, 0});
  CHECK(chosen("runner-up") == std::vector<int64_t>{2, 2});
  CHECK(chosen("least-likely") == std::vector<int64_t>{1, 1});
  std::vector<int64_t> seen(4, 0);
  for (int64_t sample = 0; sample < 300; ++sample) {
    const Tensor t = choose_targets(TargetRule::random, z, y, 1, {sample, sample});
    CHECK(t.data<int64_t>()[0] != 0);
    ++seen[static_cast<size_t>(t.data<int64_t>()[0])];
    CHECK(identical(t, choose_targets(TargetRule::random, z, y, 1, {sample, sample})));
  }
  CHECK(seen[0] == 0);
  for (size_t k = 1; k < 4; ++k) CHECK(seen[k] > 60);
  CHECK(error_of([] { parse_target_rule("first"); }).find("target: 'first' is none of next") == 0);
}

TEST_CASE("all targets: one row for every class that is not the label") {
  const AttackInput one{images(2, {1, 1, 3}), classes({1, 0}), {}, {}};
  const AttackInput all = with_all_targets(one, 3);
  CHECK(all.targets.to_vector<int64_t>() == std::vector<int64_t>{0, 2, 1, 2});
  CHECK(all.y.to_vector<int64_t>() == std::vector<int64_t>{1, 1, 0, 0});
  CHECK(all.samples == std::vector<int64_t>{0, 0, 1, 1});
  CHECK(identical(all.x.slice(0, 1, 2).contiguous(), one.x.slice(0, 0, 1).contiguous()));
}

TEST_CASE("jsma: darkening, a feature that is nearly black is left out as one that is nearly white is") {
  // Darkening feature i takes i + 1 from the label's logit and gives it to the other's.
  const Model model = linear_model({1, 2, 3, 4, -1, -2, -3, -4}, {20, 0});
  const AttackInput input{Tensor::of<double>({1, 1, 1, 0.005}, {1, 1, 1, 4}), classes({0}), {}, {}};
  const auto made = [&](double full) {
    const Jsma jsma({.on = Outputs::logits, .theta = -1, .gamma = 0.5, .full = full});  // one pair
    return jsma.run(model, input).x_adv.to_vector<double>();
  };
  CHECK(made(0.99) == std::vector<double>{1, 0, 0, 0.005});
  CHECK(made(1) == std::vector<double>{1, 1, 0, 0});
}

TEST_CASE("jsma: choosing a target costs a pass of its own") {
  const Model model = linear_model({1, 2, 3, 4, -1, -2, -3, -4}, {20, 0});
  AttackInput input{Tensor::full({1, 1, 1, 4}, 1, DType::float64), classes({0}), {}, {}};
  const Jsma jsma({.on = Outputs::logits, .theta = -1, .gamma = 0.5});  // one step: two points are judged
  CHECK(jsma.run(model, input).forwards.data<int64_t>()[0] == 3);
  input.targets = classes({1});
  CHECK(jsma.run(model, input).forwards.data<int64_t>()[0] == 2);
}
