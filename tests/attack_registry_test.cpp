// Attacks by name, the bookkeeping of live rows, and attacks on hashed weights.
#include <doctest/doctest.h>

#include "attacks/live_rows.h"
#include "attacks/pgd.h"
#include "attacks/registry.h"
#include "nn/materialise.h"
#include "tests/attack_models.h"

namespace hashgrad {
namespace {

using testing::error_of;

TEST_CASE("attack registry: every attack can be made from its name alone, and says so") {
  for (const AttackInfo& info : all_attacks()) {
    CAPTURE(info.name);
    CHECK(make_attack(info.name)->name() == info.name);
    CHECK_FALSE(info.about.empty());
    for (const AttackSetting& setting : info.settings) CHECK_FALSE(setting.help.empty());
  }
}

TEST_CASE("attack registry: every setting reaches the attack") {
  // What a setting of each kind is changed to; the attack's own account of itself must then differ.
  for (const AttackInfo& info : all_attacks()) {
    const std::string before = make_attack(info.name)->repr();
    for (const AttackSetting& setting : info.settings) {
      using Kind = AttackSetting::Kind;
      if (setting.kind == Kind::word && setting.words.size() < 2) continue;
      std::string value;
      if (setting.kind == Kind::integer || setting.kind == Kind::number) {
        const double now = std::stod(setting.fallback), half = (now + std::max(setting.least, 0.0)) / 2;
        value = setting.kind == Kind::number && half != now && half != 0 ? fmt::format("{}", half)
                                                                         : fmt::format("{}", now + 1);
      } else if (setting.kind == Kind::word) {
        value = setting.words[0] == setting.fallback ? setting.words[1] : setting.words[0];
      }
      CAPTURE(info.name);
      CAPTURE(setting.name);
      CHECK(make_attack(info, {{setting.name, value}})->repr() != before);
    }
  }
}

TEST_CASE("attack registry: specs are read as on the command line") {
  const auto by_spec = make_attack("pgd:norm=l2,eps=0.5,restarts=3,no_early_stop", 7);
  CHECK(by_spec->repr() ==
        Pgd({.norm = Norm::l2, .eps = 0.5, .restarts = 3, .early_stop = false, .seed = 7}).repr());
  CHECK(make_attack("bim")->repr() == Pgd({.iters = 10, .random_start = false}).repr());
}

TEST_CASE("attack registry: one clear error for what is not an attack or a setting") {
  const auto error = [](const char* spec) { return error_of([&] { make_attack(spec); }); };
  std::string names;
  for (const AttackInfo& info : all_attacks()) names += (names.empty() ? "" : ", ") + info.name;
  CHECK(names.find("fgsm, fgm, bim, pgd") == 0);
  CHECK(error("pgf") == "attack 'pgf' is not known; accepted: " + names);
  CHECK(error("") == "attack '' is not known; accepted: " + names);
  CHECK(error("fgsm:theta=1") ==
        "fgsm: 'theta' is not one of its settings (compat, eps, loss, own-prediction)");
  CHECK(error("fgsm:eps=x") == "fgsm: eps is 'x', a number is expected");
  CHECK(error("fgsm:eps=nan").find("fgsm: eps is nan") == 0);
  CHECK(error("fgsm:eps=-1").find("fgsm: eps is -1, 0 to") == 0);
  CHECK(error("pgd:iters=1.5") == "pgd: iters is 1.5, an integer is expected");
  CHECK(error("pgd:no-early-stop=1") == "pgd: no-early-stop is a flag and takes no value");
  CHECK(error("pgd:norm=l3") == "pgd: norm is 'l3'; accepted: linf, l2, l1, l0");
  CHECK(error("deepfool:norm=l1") == "deepfool: norm is 'l1'; accepted: linf, l2");
  CHECK(error("pgd:eps=1,eps=2") == "attack 'pgd:eps=1,eps=2': eps is given twice");
  CHECK(error("pgd:") ==
        "pgd: '' is not one of its settings (compat, eps, norm, step, iters, sparsity, loss, no-early-stop, "
        "restarts, no-random-start)");
}

TEST_CASE("live rows: who stays keeps its number and its state") {
  const AttackInput all{
      testing::images(5, {1, 2, 2}), testing::classes({0, 1, 2, 3, 4}), {}, {10, 11, 12, 13, 14}};
  LiveRows live(all);
  Tensor state = all.x.clone(), none;
  std::vector<double> c{0, 1, 2, 3, 4};
  live.keep({0, 2, 3, 4}, state, none, c);
  live.keep({1, 3}, state, none, c);
  CHECK(live.rows() == std::vector<int64_t>{2, 4});
  CHECK(live.input().samples == std::vector<int64_t>{12, 14});
  CHECK(live.input().y.to_vector<int64_t>() == std::vector<int64_t>{2, 4});
  CHECK(c == std::vector<double>{2, 4});
  CHECK(state.to_vector<float>() == gather(all.x, {2, 4}).to_vector<float>());
  CHECK_FALSE(none.defined());
  live.keep({}, state, none, c);
  CHECK(live.empty());
  CHECK(state.shape() == Shape{0, 1, 2, 2});
}

TEST_CASE("attacks on hashed weights: the twin written out once changes no bit of the result") {
  for (const char* rate : {"@1/4", "@1/64"}) {
    const Model hashed = testing::small_net(DType::float32, rate), dense = materialise(hashed);
    const Tensor x = testing::images(9, {1, 6, 6});
    const AttackInput input{x, testing::own_labels(hashed, x), {}, {}};
    for (const AttackInfo& info : all_attacks()) {
      CAPTURE(info.name);
      const auto attack = make_attack(info.name + ":" + info.samples[0]);
      const AttackResult a = attack->run(hashed, input), b = attack->run(dense, input);
      for (int64_t row = 0; row < 9; ++row) CHECK(testing::same_row(a, row, b, row));
    }
  }
}

TEST_CASE("attacks: each stops at its next question when it is told to") {
  const Model model = testing::small_net();
  const Tensor x = testing::images(3, {1, 6, 6});
  const AttackInput input{x, testing::own_labels(model, x), {}, {}};
  const std::atomic<bool> stop{true}, go_on{false};
  for (const AttackInfo& info : all_attacks()) {
    CAPTURE(info.name);
    const auto attack = make_attack(info.name + ":" + info.samples[0]);
    CHECK_THROWS_AS(attack->run(model, input, {.stop = &stop}), Stopped);
    CHECK_NOTHROW(attack->run(model, input, {.stop = &go_on}));
  }
  const Oracle oracle(model, {.stop = &stop});
  const Tensor cotangents = Tensor::zeros({1, 3, model.classes()}, DType::float32);
  CHECK_THROWS_AS(oracle.logits(x), Stopped);
  CHECK_THROWS_AS(oracle.votes(x), Stopped);
  CHECK_THROWS_AS(oracle.gradient(x, input.y, "ce"), Stopped);
  CHECK_THROWS_AS(oracle.vjp(x, cotangents, Outputs::logits), Stopped);
  CHECK_THROWS_AS(oracle.vjp(x, 1, [&](const Tensor&, int64_t) { return cotangents; }), Stopped);
}

}  // namespace
}  // namespace hashgrad
