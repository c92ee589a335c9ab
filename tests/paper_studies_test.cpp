// The studies of Zhao et al. and of Wang et al. measure what they say: each cell against the same thing done
// by hand.
#include <algorithm>
#include <cmath>
#include <doctest/doctest.h>
#include <filesystem>

#include "attacks/registry.h"
#include "attacks/transfer.h"
#include "compression/fixed_point.h"
#include "core/file.h"
#include "datasets/loader.h"
#include "datasets/registry.h"
#include "defenses/logits_augmentation.h"
#include "experiments/wang2018/tables.h"
#include "experiments/zhao2019/distributions.h"
#include "experiments/zhao2019/findings.h"
#include "experiments/zhao2019/tables.h"
#include "tests/attack_models.h"
#include "tests/study_testing.h"

namespace hashgrad {
namespace {

using study::Change;
using study::Json;
using study::Outcomes;

constexpr int64_t n = 30;

zhao2019::Setup small_zhao() {
  const zhao2019::Training training{200, 2, 20, 0.05, "sgd", "constant"};
  return {.network = "1x28x28 conv3k5s2 relu flatten fc10",
          .data = "synthetic-digits",
          .densities = {0.3},
          .widths = {4, 12},
          .base = training,
          .retraining = training,
          .attacked = n,
          .scrutinised = n,
          .f3_eps = {0.05},
          .f3_iters = {2},
          .square_questions = 20};
}

wang2018::Setup small_wang() {
  return {.network = "1x28x28 conv3k5s2 relu flatten fc10",
          .data = "synthetic-digits",
          .base = {400, 8, 20},
          .pruning = {.rounds = 3, .conv_percent = 20, .fc_percent = 40},
          .retraining = {200, 2, 20},
          .strengths = {0, 20},
          .attacked = n,
          .scrutinised = n,
          .cw_images = 1,
          .cw_iters = 10,
          .cw_lr = 0.1,
          .square_questions = 20};
}

AttackInput first_images(int64_t count) {
  const Dataset test =
      load_dataset("synthetic-digits", Split::test, {.data_dir = {}, .first = count, .resize = {}});
  return {test.images_float(0, count), test.labels, {}, {}};
}

/// Share of right answers, from a function that counts wrong ones.
Rate right_of(const Model& model, const AttackInput& input, const AttackResult& crafted) {
  const Rate wrong = apply_to(model, input, crafted).rates.wrong;
  return {wrong.trials - wrong.hits, wrong.trials};
}

bool same(const std::optional<Rate>& a, const Rate& b) {
  return a && a->hits == b.hits && a->trials == b.trials;
}

}  // namespace

TEST_CASE("studies: outcomes are counted alone, together and among others") {
  CHECK(study::share("0110").hits == 2);
  CHECK(study::both("0110", "1100") == "0100");
  const Rate rate = study::share_of("0110", "1101");
  CHECK(rate.hits == 1);
  CHECK(rate.trials == 3);
  CHECK_ERROR(study::both("01", "011"), "of 2 and of 3 images");
  CHECK_FALSE(study::share(nullptr, "own"));
  CHECK(study::shown(std::nullopt) == "not run");
  const Model model = testing::linear_model({1, -1}, {0, 0});  // class 0 for x > 0, and on the tie
  const AttackInput input{Tensor::of(std::vector<double>{0, 0.5, 1}, {3, 1, 1, 1}),
                          testing::classes({0, 1, 1}),
                          testing::classes({1, 0, 0}),
                          {}};
  CHECK(study::right(model, input, input.x, 2) == "100");
  CHECK(study::reached(model, input, input.x, 2) == "011");
}

TEST_CASE("studies: shares differ where their intervals are apart") {
  CHECK(study::change({10, 100}, {40, 100}) == Change::rises);
  CHECK(study::change({40, 100}, {10, 100}) == Change::falls);
  CHECK(study::change({10, 100}, {15, 100}) == Change::none);
  CHECK(study::beats_chance({20, 100}, 10));
  CHECK_FALSE(study::beats_chance({15, 100}, 10));  // its interval begins at 9.3 %
  CHECK(study::beats_chance({15, 100}, 50));
  CHECK(study::finding("A.", "1 %", true) == "A. Measured: 1 %. It held.");
  CHECK(study::finding("A.", "1 %", false).ends_with("It did not hold."));
}

TEST_CASE("studies: every attack of every scale can be made; formats and budgets are the paper's") {
  for (const study::Scale scale : {study::Scale::smoke, study::Scale::reduced, study::Scale::full}) {
    zhao2019::Setup setup = zhao2019::setup_of(scale);
    for (const char* settings : {"text", "published"})
      for (const char* ball : {"prev", "origin"}) {
        setup.attack_settings = settings, setup.ball = ball;
        for (const zhao2019::Search& attack : zhao2019::paper_attacks(setup))
          CHECK_NOTHROW(make_attack(attack.spec));
      }
    CHECK(zhao2019::ifgsm_budget(setup) == 0.02);
    for (const zhao2019::Search& attack : zhao2019::stronger_attacks(0.1, true, setup))
      CHECK(make_attack(attack.spec)->threat()->eps == 0.1);
    const wang2018::Setup wang = wang2018::setup_of(scale);
    for (const auto& attacks : {paper_attacks(wang), stronger_attacks(wang), figure_attacks(wang)})
      for (const wang2018::Search& attack : attacks) CHECK_NOTHROW(make_attack(attack.spec));
  }
  CHECK(zhao2019::format_of(4) == FixedPointFormat{4, 1});
  CHECK(zhao2019::format_of(8) == FixedPointFormat{8, 2});
  CHECK(zhao2019::format_of(12) == FixedPointFormat{12, 4});
}

TEST_CASE("studies: CIFAR-10 is the papers' other half, with networks, training and names of its own") {
  for (const study::Scale scale : {study::Scale::smoke, study::Scale::reduced, study::Scale::full}) {
    zhao2019::Setup zhao = zhao2019::setup_of(scale, "cifar10");
    const wang2018::Setup wang = wang2018::setup_of(scale, "cifar10");
    for (const auto& [network, data] :
         {std::pair{zhao.network, zhao.data}, std::pair{wang.network, wang.data}}) {
      CHECK(data == "cifar10");
      const Model model(network);
      CHECK(model.input_shape() == Shape{3, 32, 32});
      CHECK(model.classes() == 10);
    }
    CHECK(std::max(zhao.base.images, wang.base.images) <= 50000);
    CHECK(zhao.telling_radius < 0.1);
    zhao.attack_settings = "published";
    CHECK(paper_attacks(zhao)[1].spec == "ifgm:eps=0.02,iters=12,ball=prev,no-early-stop");
    CHECK(paper_attacks(zhao)[2].spec == "deepfool:overshoot=0.01,iters=3");
    CHECK(wang.names[2] == "C2");
    CHECK(wang.eps == 10);
    CHECK(stronger_attacks(wang).size() == stronger_attacks(wang2018::setup_of(scale)).size() + 1);
    for (const wang2018::Search& attack : stronger_attacks(wang)) CHECK_NOTHROW(make_attack(attack.spec));
    const zhao2019::Setup other = zhao2019::setup_of(scale, "fashion-mnist");
    CHECK(other.data == "fashion-mnist");
    CHECK(other.network == zhao2019::setup_of(scale).network);
  }
  CHECK(zhao2019::setup_of(study::Scale::full, "cifar10").base.epochs == 300);
  CHECK(wang2018::setup_of(study::Scale::full, "cifar10").base.batch == 200);
}

TEST_CASE("studies: data that do not fit the network are refused before anything is trained") {
  const testing::TempDir folder;
  const study::PaperFlags flags = testing::flags_in(folder);
  study::Study study(flags.study());
  zhao2019::Setup zhao = small_zhao();
  wang2018::Setup wang = small_wang();
  zhao.network = wang.network = "3x32x32 flatten fc10";
  const char* refused = "synthetic-digits: images are [1,28,28], the model takes [3,32,32]";
  CHECK_ERROR(zhao2019::Experiment(zhao, flags, study), refused);
  CHECK_ERROR(wang2018::Experiment(wang, flags, study), refused);
}

TEST_CASE("zhao2019: distributions are counted by hand") {
  const std::vector<double> values{-2, -1, -0.25, 0, 0, 0.5, 0.875, 3};
  CHECK(zhao2019::cumulative_shares(values, {-1, 0, 1}) == std::vector<double>{2 / 8.0, 5 / 8.0, 7 / 8.0});
  CHECK(zhao2019::share_at_ends(values, {4, 1}) == 4 / 8.0);                   // [-1, 0.875]
  CHECK(zhao2019::share_at_ends(values, {8, 2}) == 2 / 8.0);                   // [-2, 2 - 1/64]
  CHECK(zhao2019::share_at_ends({7.9999995, 7.9999999}, {32, 4}) == 1 / 2.0);  // float32 ends at 8 - 2^-21
  const std::vector<double> points = zhao2019::points_within(2);
  REQUIRE(std::ssize(points) == zhao2019::points_of_distributions);
  CHECK(points.front() == -2);
  CHECK(points[points.size() / 2] == 0);
  CHECK(points.back() == 2);
  CHECK(std::is_sorted(points.begin(), points.end()));
  const Json kept = zhao2019::distribution(values, 2, FixedPointFormat{4, 1});
  CHECK(kept.at("cumulative").size() == points.size());
  CHECK(kept.at("cumulative").back() == 7 / 8.0);
  CHECK(kept.at("up_to_zero") == 5 / 8.0);
  CHECK(kept.at("zero") == 2 / 8.0);
  CHECK(kept.at("at_ends") == 4 / 8.0);
  CHECK_FALSE(zhao2019::distribution(values, 2, std::nullopt).contains("at_ends"));
  CHECK_ERROR(zhao2019::distribution({}, 2, std::nullopt), "no numbers");
}

TEST_CASE("zhao2019: activations are what fixed point rounds: sums in front of ReLU, no class scores") {
  const Model dense("1x4x4 conv2k3nb bn relu flatten fc3 relu fc2", {.seed = 1});
  CHECK(zhao2019::weights_of(dense).size() == 2 * 9 + 8 * 3 + 3 * 2);
  const Tensor images = first_images(2).x.slice(2, 10, 14).slice(3, 10, 14).contiguous();
  const auto behind = [&](const Model& model, size_t layers) {
    return model.forward(images, {}, 0, layers).to(DType::float64).to_vector<double>();
  };
  for (const Model& model : {dense.clone(), compress_fixed_point(dense, {.format = {4, 1}})}) {
    std::vector<double> expected = behind(model, 2);  // conv and bn
    const std::vector<double> second = behind(model, 5);
    expected.insert(expected.end(), second.begin(), second.end());
    CHECK(expected.size() == 2 * (8 + 3));
    CHECK(zhao2019::activations_of(model, images) == expected);
  }
}

TEST_CASE("zhao2019: figure 5 counts the networks it names, over ten images that the seed draws") {
  const testing::TempDir folder;
  const study::PaperFlags flags = testing::flags_in(folder);
  study::Study study(flags.study());
  zhao2019::Experiment experiment(small_zhao(), flags, study);
  const std::vector<zhao2019::Variant> variants{{}, {.width = 4}, {.width = 12}};
  for (const zhao2019::Variant& v : variants) CHECK(experiment.distributions(v) == nullptr);
  study.run(1e9);
  const Dataset test =
      load_dataset("synthetic-digits", Split::test, {.data_dir = {}, .first = n, .resize = {}});
  std::vector<int64_t> drawn = Loader(test, {.seed = flags.common.seed, .augmentation = {}}).order(0);
  drawn.resize(10);
  const Tensor images = test.select(drawn).images_float(0, 10);
  for (const zhao2019::Variant& v : variants) {
    const std::optional<FixedPointFormat> format =
        v.width == 0 ? std::nullopt : std::optional(zhao2019::format_of(v.width));
    const Model& model = study.network(v.label());
    const Json* values = experiment.distributions(v);
    REQUIRE(values);
    const Json weights = zhao2019::distribution(zhao2019::weights_of(model), 1, format),
               activations = zhao2019::distribution(zhao2019::activations_of(model, images), 8, format);
    CHECK((values->at("weights") == weights));  // too long to be shown
    CHECK((values->at("activations") == activations));
  }
  const auto at_ends = [&](const zhao2019::Variant& v) {
    return experiment.distributions(v)->at("activations").at("at_ends").get<double>();
  };
  CHECK(at_ends(variants[1]) > at_ends(variants[2]));
  study::PaperFlags only = flags;
  only.all = false, only.figures = {"5"};
  const std::vector<std::string> sentences = findings(experiment, only);
  REQUIRE(sentences.size() == 3);
  const double reached = experiment.distributions(variants[1])->at("weights").at("up_to_zero").get<double>();
  CHECK(sentences[0].ends_with(0.85 <= reached && reached < 0.95 ? "It held." : "It did not hold."));
  CHECK(sentences[2].starts_with("C-F5, activations: 4 bits clip first."));
  CHECK(sentences[2].ends_with("It held."));
}

TEST_CASE("zhao2019: the three scenarios are who crafts and who is asked") {
  const testing::TempDir folder;
  const study::PaperFlags flags = testing::flags_in(folder);
  study::Study study(flags.study());
  zhao2019::Experiment experiment(small_zhao(), flags, study);
  const std::vector<zhao2019::Variant> variants{{}, {.density = 0.3}, {.width = 4}};
  const std::vector<zhao2019::Search> attacks = paper_attacks(experiment.setup());
  const zhao2019::Search through{"PGD, float gradients", "pgd:eps=0.1,iters=5,loss=margin", 10, true};
  for (const zhao2019::Variant& v : variants)
    for (const zhao2019::Search& attack : attacks) CHECK_FALSE(experiment.scenarios(v, attack).own);
  CHECK(experiment.stronger(variants[2], through) == nullptr);
  CHECK(experiment.gradients(variants[2]) == nullptr);
  study.run(1e9);

  const AttackInput input = first_images(n);
  const Model& dense = study.network("dense");
  for (const zhao2019::Variant& v : variants)
    for (const zhao2019::Search& attack : attacks) {
      const Model& own = study.network(v.label());
      const AttackResult here = make_attack(attack.spec)->run(own, input),
                         there = make_attack(attack.spec)->run(dense, input);
      const zhao2019::Scenarios s = experiment.scenarios(v, attack);
      const Rate wrong = apply_to(own, input, here).rates.clean_wrong;
      CHECK(same(s.clean, {n - wrong.hits, n}));
      CHECK(same(s.own, right_of(own, input, here)));
      CHECK(same(s.from_dense, right_of(own, input, there)));
      CHECK(same(s.on_dense, right_of(dense, input, here)));
    }
  const Model& narrow = study.network("4 bits");
  Model unrounded = narrow.clone();
  unrounded.coding.activations.clear();
  const AttackResult crafted = make_attack(through.spec)->run(narrow, input, {.surrogate = &unrounded});
  CHECK(
      same(study::share(experiment.stronger(variants[2], through), "own"), right_of(narrow, input, crafted)));
  const Tensor weights = study.network("density 0.3").state().at("3.weight");
  const std::vector<float> w = weights.to_vector<float>();
  CHECK(w.size() - static_cast<size_t>(std::count(w.begin(), w.end(), 0.0f)) ==
        static_cast<size_t>(std::llround(0.3 * static_cast<double>(w.size()))));
}

TEST_CASE("zhao2019: the worst case counts each image once, and findings follow the cells") {
  const testing::TempDir folder;
  const study::PaperFlags flags = testing::flags_in(folder);
  study::Study study(flags.study());
  zhao2019::Experiment experiment(small_zhao(), flags, study);
  const std::vector<std::string> before = findings(experiment, flags);
  for (const std::string& sentence : before) CHECK(sentence.ends_with("Not judged: cells are missing."));
  for (const double radius : radii(experiment.setup())) CHECK_FALSE(experiment.worst_case({}, radius));
  study.run(1e9);
  Outcomes standing = experiment.clean({}, n)->at("own").get<Outcomes>();
  double least = study::share(standing).value();
  for (const zhao2019::Search& attack : stronger_attacks(0.1, false, experiment.setup())) {
    const auto own = experiment.stronger({}, attack)->at("own").get<Outcomes>();
    least = std::min(least, study::share(own).value());
    for (size_t i = 0; i < standing.size(); ++i)
      if (own[i] == '0') standing[i] = '0';
  }
  const std::optional<Rate> worst = experiment.worst_case({}, 0.1);
  CHECK(same(worst, study::share(standing)));
  CHECK(worst->value() <= least);
}

TEST_CASE("zhao2019: networks that guess are left out of the counts, and no width is compared with itself") {
  const testing::TempDir folder;
  study::PaperFlags flags = testing::flags_in(folder);
  flags.all = false, flags.figures = {"4"};
  const auto sentences = [&](const std::vector<int>& widths) {
    zhao2019::Setup setup = small_zhao();
    setup.widths = widths;
    study::Study study(flags.study());
    zhao2019::Experiment experiment(setup, flags, study);
    page_of(experiment, flags);
    study.run(1e9);
    return findings(experiment, flags);
  };
  sentences({4, 12, 16});
  // IFGSM passes from every network but the one of 4 bits, which guesses; the other attacks pass from none.
  const auto set_clean = [&](const std::vector<int>& guessing) {
    for (const auto& entry : std::filesystem::directory_iterator(flags.output + "/cells")) {
      Json cell = Json::parse(read_file(entry.path()));
      const std::string what = cell["settings"]["what"], attack = cell["settings"].value("attack", "");
      const int width = cell["settings"]["network"].value("width", 0);
      const bool guesses = std::count(guessing.begin(), guessing.end(), width) > 0;
      Json& values = cell["values"];
      if (what == "without attack") values["own"] = Outcomes(n, guesses ? '0' : '1');
      if (what == "crafted on it") values["own"] = Outcomes(n, '0');
      if (what == "crafted on it")
        values["dense"] = Outcomes(n, attack.starts_with("ifgsm") && width != 4 ? '0' : '1');
      if (what == "crafted on the dense network") values["own"] = Outcomes(n, '0');
      write_file(entry.path(), cell.dump());
    }
  };
  set_clean({4});
  const std::string left_out = "; left out, right no more often than by chance: 4 bits. ";
  const std::vector<std::string> some = sentences({4, 12, 16});
  CHECK(
      some[0].ends_with("Measured: 9 of 9 other points are that of the widest, within intervals. It held."));
  CHECK(some[1].ends_with("at 2 of 2 widths" + left_out + "It held."));
  CHECK(some[2].ends_with("by the images of 2 of 2 networks" + left_out + "It held."));
  CHECK(some[6].ends_with("by the images of 0 of 2 networks" + left_out + "It did not hold."));
  CHECK(sentences({4, 12})[0].ends_with("It says nothing: no two widths are above 8 bits."));
  set_clean({4, 12, 16});
  const std::vector<std::string> none = sentences({4, 12, 16});
  for (const size_t i : {1u, 2u, 6u})
    CHECK(none[i].find("It says nothing: without attack 4 bits answers 0.00") != std::string::npos);
}

TEST_CASE("wang2018: boxes are who crafts and who is asked; zero gradients lie beyond leads of 87 to 104") {
  const testing::TempDir folder;
  const study::PaperFlags flags = testing::flags_in(folder);
  study::Study study(flags.study());
  wang2018::Experiment experiment(small_wang(), flags, study);
  const std::vector<wang2018::Search> attacks = paper_attacks(experiment.setup());
  page_of(experiment, flags);
  study.run(1e9);
  const study::Page page = page_of(experiment, flags);
  for (const report::Table& table : page.tables) CHECK(to_text(table).find("not run") == std::string::npos);
  for (const std::string& sentence : page.findings) CHECK(sentence.find("Not judged") == std::string::npos);

  const Model &m0 = study.network("M0"), &m1 = study.network("M1");
  Model m2 = m1.clone();
  logits_augmentation(m2, 20);
  const std::vector<std::pair<const char*, const Model*>> models{{"M0", &m0}, {"M1", &m1}, {"M2", &m2}};
  AttackInput input = first_images(n);
  for (const size_t a : {size_t{0}, size_t{2}})
    for (const auto& [source, crafting] : models)
      for (const auto& [target, shown_to] : models) {
        const AttackResult crafted = make_attack(attacks[a].spec)->run(*crafting, input);
        CHECK(same(experiment.success(source, target, attacks[a]),
                   apply_to(*shown_to, input, crafted).rates.broken));
      }
  input.targets = testing::classes([&] {
    std::vector<int64_t> next = input.y.to_vector<int64_t>();
    for (int64_t& k : next) k = (k + 1) % 10;
    return next;
  }());
  const AttackResult aimed = make_attack(attacks[1].spec)->run(m0, input);
  CHECK(study::share(experiment.crafted_on("M0", attacks[1]), "M1")->hits ==
        apply_to(m1, input, aimed).reached.hits);

  // Beyond 104 nothing is left; a few logits before that, what is left of p vanishes in products with
  // weights.
  const double lead = experiment.gradients(0)->at("median_lead").get<double>();
  REQUIRE(lead > 0);
  const double eps = 130 / lead;
  experiment.gradients(eps);
  study.run(1e9);
  const Json* gradients = experiment.gradients(eps);
  const auto zero = gradients->at("zero").get<Outcomes>(), beyond = gradients->at("beyond").get<Outcomes>(),
             ftz = gradients->at("beyond_ftz").get<Outcomes>();
  CHECK(study::both(zero, beyond) == beyond);
  CHECK(study::both(zero, ftz) == zero);
  CHECK(study::share(beyond).hits > 0);
  CHECK(study::share(zero).hits < n);
  CHECK(study::share(gradients, "zero64")->hits < study::share(zero).hits);
  const int64_t kept = experiment.size()->at("kept").get<int64_t>();
  CHECK(kept < experiment.size()->at("weights").get<int64_t>() / 3);  // about 0.6^3 of nearly all
}

}  // namespace hashgrad
