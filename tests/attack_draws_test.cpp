// Randomised models under attack: answers and gradients over draws, and who judges.
#include <doctest/doctest.h>
#include <set>

#include "attacks/autoattack.h"
#include "attacks/fgsm.h"
#include "attacks/pgd.h"
#include "attacks/registry.h"
#include "attacks/substitute.h"
#include "attacks/transfer.h"
#include "autograd/ops/softmax.h"
#include "defenses/defensive_dropout.h"
#include "defenses/gradient_inhibition.h"
#include "tests/attack_models.h"

using namespace hashgrad;
using namespace hashgrad::testing;

namespace {

Model drawing_net(double eps = 4) {
  Model model = small_net(DType::float64);
  gradient_inhibition_3(model, eps, Redraw::forward, "last:2");
  return model;
}

/// z = (2 x_0, 2 x_1), each pixel dropped by half of the draws.
Model coin() {
  Model model = linear_model({1, 0, 0, 1}, {0, 0});
  defensive_dropout(model, 0.5);
  return model;
}

std::vector<Model> draws_of(const Model& model, int64_t n, Stream stream = Stream::defence,
                            uint64_t seed = 0) {
  std::vector<Model> draws;
  for (int64_t i = 0; i < n; ++i) draws.push_back(realisation(model, {seed, stream, i}));
  return draws;
}

double largest_difference(const Tensor& a, const Tensor& b) {
  REQUIRE(a.shape() == b.shape());
  const std::vector<double> x = a.to_vector<double>(), y = b.to_vector<double>();
  double largest = 0;
  for (size_t i = 0; i < x.size(); ++i) largest = std::max(largest, std::abs(x[i] - y[i]));
  return largest;
}

OracleOptions over(int64_t count, uint64_t seed = 0) { return {.draws = {.count = count, .seed = seed}}; }

}  // namespace

TEST_CASE("draws: an oracle answers with mean logits, mean losses and mean gradients of each draw's loss") {
  const Model model = drawing_net(0.5);
  const Tensor x = images(5, model.input_shape(), DType::float64), y = classes({0, 3, 4, 1, 2});
  const Oracle oracle(model, {.batch = 2, .draws = {.count = 3, .seed = 11}});
  CHECK(oracle.draws() == 3);
  const std::vector<Model> draws = draws_of(model, 3, Stream::defence, 11);
  Tensor logits = Tensor::zeros({5, 5}, DType::float64), values = Tensor::zeros({5}, DType::float64),
         gradients = Tensor::zeros(x.shape(), DType::float64);
  for (const Model& draw : draws) {
    const LossGradient one = Oracle(draw).gradient(x, y, "ce");
    logits = step(logits, 1.0 / 3, one.logits);
    values = step(values, 1.0 / 3, one.value);
    gradients = step(gradients, 1.0 / 3, one.gradient);
  }
  const LossGradient mean = oracle.gradient(x, y, "ce");
  CHECK(largest_difference(mean.logits, logits) < 1e-12);
  CHECK(largest_difference(mean.value, values) < 1e-12);
  CHECK(largest_difference(mean.gradient, gradients) < 1e-12);
  CHECK(largest_difference(oracle.logits(x), logits) < 1e-12);
  const LossGradient rising = oracle.ascent(x, {y, {}}, "ce");
  CHECK(largest_difference(rising.gradient, gradients) < 1e-12);
  // The loss of the mean is another number, and so is a single draw's gradient.
  CHECK(largest_difference(Oracle::objective(logits, {y, {}}, "ce"), values) > 1e-3);
  CHECK(largest_difference(Oracle(model, over(1, 11)).gradient(x, y, "ce").gradient, gradients) > 1e-3);
}

TEST_CASE("draws: without labels those of the mean logits are meant") {
  const Model model = drawing_net();
  const Tensor x = images(7, model.input_shape(), DType::float64);
  const Oracle oracle(model, over(4));
  const Tensor own = classes(predictions_of(oracle.logits(x)));
  CHECK(identical(oracle.gradient(x, {}, "ce").gradient, oracle.gradient(x, own, "ce").gradient));
  CHECK(identical(oracle.ascent(x, {}, "margin").value, oracle.ascent(x, {own, {}}, "margin").value));
}

TEST_CASE("draws: products with cotangents and Jacobians are of the mean logits") {
  const Model model = drawing_net(0.5);
  const Tensor x = images(3, model.input_shape(), DType::float64);
  const Oracle oracle(model, {.batch = 2, .draws = {.count = 3}});
  const double h = 1e-6;
  for (const Outputs of : {Outputs::logits, Outputs::probs}) {
    const Tensor all = oracle.jacobian(x, of);  // [N,K,1,6,6]
    for (const int64_t pixel : {0, 13, 35}) {
      Tensor up = x.clone(), down = x.clone();
      for (int64_t row = 0; row < 3; ++row) {
        up.data<double>()[row * 36 + pixel] += h;
        down.data<double>()[row * 36 + pixel] -= h;
      }
      const std::vector<double> high = Oracle::shown(oracle.logits(up), of).to_vector<double>(),
                                low = Oracle::shown(oracle.logits(down), of).to_vector<double>();
      for (int64_t i = 0; i < 15; ++i)
        CHECK(all.data<double>()[i * 36 + pixel] ==
              doctest::Approx((high[static_cast<size_t>(i)] - low[static_cast<size_t>(i)]) / (2 * h))
                  .epsilon(1e-4)
                  .scale(1));
    }
  }
  // Cotangents that are chosen by the logits see the mean.
  const auto ones = [&](const Tensor& logits, int64_t begin) {
    CHECK(largest_difference(logits, oracle.logits(x).slice(0, begin, begin + logits.size(0)).contiguous()) ==
          0);
    return Tensor::full({1, logits.size(0), 5}, 1, DType::float64);
  };
  const Tensor chosen = oracle.vjp(x, 1, ones).second,
               given = oracle.vjp(x, Tensor::full({1, 3, 5}, 1, DType::float64), Outputs::logits).second;
  CHECK(largest_difference(chosen, given) < 1e-12);
}

TEST_CASE("draws: an ordinary model has one answer, whatever is asked of it") {
  const Model model = small_net();
  const Tensor x = images(9, model.input_shape()), y = own_labels(model, x);
  const OracleOptions many{.draws = {.count = 7, .judge = 3, .seed = 5}};
  const Oracle once(model), often(model, many), judge = Oracle::judge(model, many);
  CHECK(often.draws() == 1);
  CHECK(identical(once.logits(x), often.logits(x)));
  CHECK(identical(once.gradient(x, y, "ce").gradient, often.gradient(x, y, "ce").gradient));
  CHECK(identical(once.jacobian(x, Outputs::probs), often.jacobian(x, Outputs::probs)));
  CHECK(judge.predict(x) == once.predict(x));
  const AttackInput input{x, y, {}, {}};
  const AttackResult a = Pgd({.iters = 3}).run(model, input), b = Pgd({.iters = 3}).run(model, input, many);
  for (int64_t i = 0; i < 9; ++i) CHECK(same_row(a, i, b, i));
}

TEST_CASE("draws: the judge counts votes of draws that no attack meets") {
  const Model model = coin();
  const Tensor x = Tensor::of<double>({0.9, 0.8, 0.8, 0.9, 0, 0}, {3, 1, 1, 2});
  const Oracle judge = Oracle::judge(model, {.draws = {.judge = 9, .seed = 2}});
  const std::vector<Model> draws = draws_of(model, 9, Stream::judge, 2);
  const std::vector<std::vector<int64_t>> votes = judge.votes(x);
  REQUIRE(votes.size() == 9);
  int64_t ones = 0;
  for (size_t d = 0; d < 9; ++d) {
    CHECK(votes[d] == predictions_of(draws[d].logits(x)));
    ones += votes[d][0];
  }
  CHECK(ones > 0);
  CHECK(ones < 9);
  CHECK(judge.predict(x) == std::vector<int64_t>{ones >= 5, judge.predict(x)[1], 0});
  const Oracle other = Oracle::judge(model, {.draws = {.judge = 9, .seed = 3}}), crafting(model, over(9, 2));
  CHECK(other.votes(x) != votes);
  CHECK(crafting.votes(x) != votes);
  CHECK(Oracle::judge(model, {.draws = {.judge = 9, .seed = 2, .rehearsal = true}}).votes(x) != votes);
}

TEST_CASE("draws: a vote ends in a tie with the lowest class, and has no winner if a logit is not a number") {
  const Model model = coin();
  const Tensor x = Tensor::of<double>({0.5, 0.5}, {1, 1, 1, 2});
  bool tie = false;
  for (uint64_t seed = 0; seed < 200 && !tie; ++seed) {
    const Oracle judge = Oracle::judge(model, {.draws = {.judge = 2, .seed = seed}});
    const auto votes = judge.votes(x);
    tie = votes[0][0] == 1 && votes[1][0] == 0;
    if (tie) CHECK(judge.predict(x)[0] == 0);
  }
  CHECK(tie);
  Model huge = linear_model({1e308, -1e308, 0, 0}, {0, 0});  // overflows unless both pixels are dropped
  defensive_dropout(huge, 0.5);
  const Oracle judge = Oracle::judge(huge, {.draws = {.judge = 40}});
  const Tensor white = Tensor::full({1, 1, 1, 2}, 1, DType::float64);
  std::set<int64_t> seen;
  for (const auto& vote : judge.votes(white)) seen.insert(vote[0]);
  CHECK(seen.contains(-1));
  CHECK(seen.size() > 1);
  CHECK(judge.predict(white)[0] == -1);
  bool first = false;  // nor is it forgotten over later votes
  for (uint64_t seed = 0; seed < 200 && !first; ++seed) {
    const Oracle two = Oracle::judge(huge, {.draws = {.judge = 2, .seed = seed}});
    const auto votes = two.votes(white);
    first = votes[0][0] == -1 && votes[1][0] >= 0;
    if (first) CHECK(two.predict(white)[0] == -1);
  }
  CHECK(first);
}

TEST_CASE("draws: success is what the judge says, and every draw's pass is counted") {
  const Model model = drawing_net();
  const Tensor x = images(12, model.input_shape(), DType::float64);
  const OracleOptions options{.batch = 5, .draws = {.count = 4, .judge = 7, .seed = 3}};
  const Oracle judge = Oracle::judge(model, options);
  const AttackInput input{x, classes(judge.predict(x)), {}, {}};
  const AttackResult r = Pgd({.eps = 0.2, .iters = 3, .early_stop = false}).run(model, input, options);
  const std::vector<int64_t> seen = judge.predict(r.x_adv);
  for (int64_t i = 0; i < 12; ++i) {
    CHECK((r.success.data<uint8_t>()[i] == 1) ==
          (seen[static_cast<size_t>(i)] != input.y.data<int64_t>()[i]));
    if (status_of(r, i) == Status::already_wrong) continue;
    CHECK(r.backwards.data<int64_t>()[i] == 3 * 4);
    CHECK(r.forwards.data<int64_t>()[i] == (1 + 3 + 1) * 4);  // the image, the steps, the result
  }
}

TEST_CASE("draws: no row is given up because the draws of the attack get it wrong") {
  const Model model = coin();
  // Of class 0 but where pixel 0 alone is dropped; the last row's label is wrong whoever judges.
  const AttackInput input{Tensor::of<double>({0.6, 0.5, 0.7, 0.4, 0.4, 0.3, 0.9, 0.1}, {4, 1, 1, 2}),
                          classes({0, 0, 0, 1}),
                          {},
                          {}};
  OracleOptions options{.draws = {.judge = 15}};
  const auto classes_are = [&](const Oracle& oracle, const std::vector<int64_t>& wanted) {
    return oracle.predict(input.x) == wanted;
  };
  while (!classes_are(Oracle(model, options), {1, 1, 1, 1}) ||
         !classes_are(Oracle::judge(model, options), {0, 0, 0, 0}))
    REQUIRE(++options.draws.seed < 100);
  for (const std::string spec : {"bim:eps=0.2,iters=4", "pgd:eps=0.2,iters=4", "mim:eps=0.2,iters=4",
                                 "ifgsm:eps=0.05,iters=4", "fgsm:eps=0.2", "apgd-ce:eps=0.2,iters=10",
                                 "square:eps=0.2,iters=10", "random-noise:eps=0.2,draws=10"}) {
    CAPTURE(spec);
    const AttackResult r = make_attack(spec, 0)->run(model, input, options);
    for (int64_t i = 0; i < 3; ++i) {
      CHECK(r.linf.data<double>()[i] > 0);
      CHECK(status_of(r, i) != Status::already_wrong);
    }
    if (spec.find("iters=4") == std::string::npos) continue;
    const AttackResult to_the_end = make_attack(spec + ",no-early-stop", 0)->run(model, input, options);
    for (int64_t i = 0; i < 4; ++i) CHECK(same_row(r, i, to_the_end, i));
  }
  // jsma does stop where its own draws give way: at once, and that is no success.
  const AttackResult still = make_attack("jsma:gamma=1", 0)->run(model, input, options);
  for (int64_t i = 0; i < 3; ++i) {
    CHECK(still.success.data<uint8_t>()[i] == 0);
    CHECK(still.first_success.data<int64_t>()[i] == -1);
    CHECK(status_of(still, i) == Status::max_iter);
  }
}

TEST_CASE("draws: what was wrong before is for the judge to say") {
  const Model model = coin();
  const Tensor x = Tensor::of<double>({0.9, 0.1, 0.9, 0.1}, {2, 1, 1, 2});
  OracleOptions options{.draws = {.judge = 15}};
  while (Oracle::judge(model, options).predict(x)[0] != 0 || Oracle(model, options).predict(x)[0] != 1)
    REQUIRE(++options.draws.seed < 100);
  const AttackResult r = Fgsm({.eps = 0.01}).run(model, {x, classes({0, 1}), {}, {}}, options);
  CHECK(status_of(r, 0) != Status::already_wrong);
  CHECK(status_of(r, 1) == Status::already_wrong);
  CHECK(r.first_success.data<int64_t>()[1] == 0);
}

TEST_CASE("draws: averaging gradients finds what one draw does not") {
  // One pixel of many pulls to class 1 in every draw; dropout hides from a single draw half of the pixels.
  constexpr size_t n = 64;
  std::vector<double> weight(2 * n);
  for (size_t j = 0; j < n; ++j) weight[n + j] = j % 2 == 0 ? 1 : -1;
  Model model = linear_model(weight, {0, -2.5});
  defensive_dropout(model, 0.5);
  const Tensor x = Tensor::full({1, 1, 1, n}, 0.5, DType::float64);
  const AttackInput input{x, classes({0}), {}, {}};
  const auto margin_of = [&](int64_t count) {  // of class 1, over draws that judge
    const AttackResult r = Fgsm({.eps = 0.05, .loss = "margin"}).run(model, input, over(count));
    return Oracle::judge(model).ascent(r.x_adv, input.goal(), "margin").value.item();
  };
  CHECK(margin_of(20) > margin_of(1) + 0.5);
}

TEST_CASE("draws: a surrogate may stand behind a randomised model, and be one") {
  const Model model = drawing_net(), plain = small_net(DType::float64);
  const Tensor x = images(4, model.input_shape(), DType::float64), y = classes({0, 1, 2, 3});
  OracleOptions options = over(3);
  options.surrogate = &plain;
  const LossGradient mixed = Oracle(model, options).gradient(x, y, "ce");
  CHECK(identical(mixed.gradient, Oracle(plain).gradient(x, y, "ce").gradient));
  CHECK(identical(mixed.value, Oracle(model, over(3)).gradient(x, y, "ce").value));
  options.surrogate = &model;
  CHECK(identical(Oracle(plain, options).gradient(x, y, "ce").gradient,
                  Oracle(model, over(3)).gradient(x, y, "ce").gradient));
  CHECK(Oracle::judge(plain, options).options().surrogate == nullptr);
}

TEST_CASE("draws: those made once serve every oracle of the model, and no other model's") {
  const Model model = drawing_net(), other = drawing_net(1);
  const Oracle first(model, over(2));
  const Oracle second(model, first.options()), judge = Oracle::judge(model, first.options());
  CHECK(first.options().realisations == second.options().realisations);
  CHECK(first.options().realisations == judge.options().realisations);
  CHECK(Oracle(other, first.options()).options().realisations != first.options().realisations);
  const Tensor x = images(2, model.input_shape(), DType::float64);
  CHECK(identical(Oracle(other, first.options()).logits(x), Oracle(other, over(2)).logits(x)));
  CHECK_ERROR(Oracle(model, over(0)), "attack: 0 draws, 1 to 100000 expected");
  CHECK_ERROR(Oracle(model, {.draws = {.judge = 0}}), "attack: 0 draws to judge by");
}

TEST_CASE("draws: autoattack rand is apgd-ce and apgd-dlr over 20 draws, judged on the way by others") {
  const Model model = drawing_net(0.5);
  const Tensor x = images(20, model.input_shape(), DType::float64);
  const AttackInput input{x, classes(Oracle::judge(model).predict(x)), {}, {}};
  const AutoAttack rand({.eps = 0.2, .version = AutoAttack::Version::rand, .iters = 10});
  REQUIRE(rand.members().size() == 2);
  CHECK(rand.members()[0]->name() == "apgd-ce");
  CHECK(rand.members()[1]->name() == "apgd-dlr");
  const AttackResult r = rand.run(model, input), asked = rand.run(model, input, over(20));
  const OracleOptions on_the_way{.draws = {.count = 20, .rehearsal = true}};
  const AttackResult ce = rand.members()[0]->run(model, input, on_the_way),
                     dlr = rand.members()[1]->run(model, input, on_the_way);
  int64_t stopped = 0;
  for (int64_t i = 0; i < 20; ++i) {
    CHECK(same_row(r, i, asked, i));
    const bool broken = ce.success.data<uint8_t>()[i] == 1;
    const int64_t more = broken ? 0 : dlr.forwards.data<int64_t>()[i];
    CHECK(r.forwards.data<int64_t>()[i] == ce.forwards.data<int64_t>()[i] + more);
    stopped += broken;
  }
  CHECK(stopped > 0);
  CHECK(stopped < 20);
}

TEST_CASE("draws: transfer and substitutes take the vote of a randomised model") {
  const Model model = drawing_net();
  const Tensor x = images(8, model.input_shape(), DType::float64);
  const Oracle judge = Oracle::judge(model);
  const AttackInput input{x, classes(judge.predict(x)), {}, {}};
  const AttackResult crafted = Fgsm({.eps = 0.2}).run(small_net(DType::float64), input);
  const Transfer t = apply_to(model, input, crafted);
  int64_t wrong = 0;
  const std::vector<int64_t> seen = judge.predict(crafted.x_adv);
  for (size_t i = 0; i < 8; ++i) wrong += seen[i] != input.y.data<int64_t>()[i];
  CHECK(t.rates.wrong.hits == wrong);
  CHECK(t.rates.clean_wrong.hits == 0);
  Model substitute("1x6x6 flatten fc5", {.dtype = DType::float64});
  SubstituteOptions options;
  options.rounds = 1;
  options.training.epochs = 1;
  CHECK(train_substitute(judge, substitute, x, options) == 8);
}
