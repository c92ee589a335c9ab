// The study of Liu et al. measures what it says: each cell against the same thing done by hand; its verdicts
// follow the cells; and weights are counted where they belong.
#include <algorithm>
#include <cmath>
#include <doctest/doctest.h>

#include "core/file.h"
#include "datasets/registry.h"
#include "defenses/gradient_inhibition.h"
#include "experiments/liu2018/figures.h"
#include "experiments/report/html.h"
#include "tests/error_of.h"
#include "tests/study_testing.h"

namespace hashgrad {
namespace {

using liu2018::Experiment;
using liu2018::Inhibition;
using liu2018::Subject;

constexpr int64_t n = 40;

/// A network, the same under another name, and a hashed one.
liu2018::Setup small() {
  liu2018::Setup setup = liu2018::mnist_setup(study::Scale::smoke);
  const std::string network = "1x28x28 conv4k5s2 relu flatten fc16 relu fc10";
  setup.subjects = {{"uncompressed", network}, {"twin", network}, {"HashNet(1/64)", network, 1.0 / 64, 0.3}};
  setup.training = {200, 1, 20, 0.05, "sgd", "constant"};
  setup.eps = {0.05, 0.1, 0.2, 0.4, 0.7, 1};
  setup.taus = {0, 0.1, 20};
  setup.tested = 2 * n;
  setup.attacked = setup.inhibited = n;
  return setup;
}

Tensor first_images() {
  return load_dataset("synthetic-digits", Split::test, {.data_dir = {}, .first = n, .resize = {}})
      .images_float(0, n);
}

/// How many predictions each eps changes, and how many have been changed by it or a smaller one.
std::pair<std::vector<int64_t>, std::vector<int64_t>> by_hand(const Model& model, const Loss& loss,
                                                              const std::vector<double>& budgets) {
  const Tensor x = first_images();
  const std::vector<int64_t> clean = Oracle(model).predict(x);
  std::vector<bool> ever(n, false);
  std::vector<int64_t> fixed, grown;
  for (const double eps : budgets) {
    const std::vector<int64_t> now = Oracle(model).predict(fgsm_images(model, x, loss, eps));
    fixed.push_back(0);
    for (size_t i = 0; i < n; ++i) {
      fixed.back() += now[i] != clean[i];
      ever[i] = ever[i] || now[i] != clean[i];
    }
    grown.push_back(std::count(ever.begin(), ever.end(), true));
  }
  return {fixed, grown};
}

std::vector<int64_t> hits(const std::vector<Rate>& rates) {
  std::vector<int64_t> result;
  for (const Rate& rate : rates) result.push_back(rate.hits);
  return result;
}

/// Every part of figures on MNIST.
std::vector<study::Part> all_parts(Experiment& e) {
  return {clean_accuracy(e),      hfgsm(e),     hjsma(e), weights(e), gradients(e),
          inhibited_gradients(e), inhibition(e)};
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("liu2018: weights are counted in their bins, and the range holds 99.9 % of them") {
  std::vector<double> w(1998, 0.011);
  w.insert(w.end(), {-0.31, 0.31});
  const liu2018::WeightHistogram h = liu2018::weight_histogram(w);
  CHECK(h.weights == 2000);
  CHECK(h.largest == 0.31);
  CHECK(h.range == 0.011);  // 1998 of 2000 is 99.9 %
  REQUIRE(h.counts.size() == 50);
  CHECK(h.counts[25] == 1998);
  CHECK(h.counts[9] == 1);
  CHECK(h.counts[40] == 1);
  w.push_back(-7);
  const liu2018::WeightHistogram wide = liu2018::weight_histogram(w);
  CHECK(wide.range == 0.31);  // 1998 of 2001 is less
  CHECK(wide.largest == 7);
  CHECK(wide.counts[0] == 1);
  CHECK_ERROR(liu2018::weight_histogram({}), "no weights");
}

TEST_CASE(
    "liu2018: the weights of a hashed network are those of the dense one that it stands for, no biases") {
  const Model model("1x4x4 conv2k3@1/4 flatten fc3@1/2");
  const std::vector<double> all = liu2018::all_weights(model);
  CHECK(all.size() == 2 * 9 + 8 * 3);
  std::vector<double> buckets = model.state().at("0.weight").to(DType::float64).to_vector<double>();
  for (size_t i = 0; i < 18; ++i)
    CHECK(std::any_of(buckets.begin(), buckets.end(),
                      [&](double b) { return std::abs(b) == std::abs(all[i]); }));
}

TEST_CASE("liu2018: every scale has the paper's networks, and its trainings can be read") {
  for (const study::Scale scale : {study::Scale::smoke, study::Scale::reduced, study::Scale::full}) {
    const liu2018::Setup mnist = liu2018::mnist_setup(scale), cifar = liu2018::cifar_setup(scale);
    REQUIRE(mnist.subjects.size() == 5);
    CHECK(cifar.subjects.size() == 4);
    for (const auto& setup : {mnist, cifar}) {
      CHECK(setup.taus[0] == 0);
      CHECK(std::is_sorted(setup.taus.begin(), setup.taus.end()));
      CHECK_NOTHROW(parse_optimizer(setup.training.optimizer));
      CHECK_NOTHROW(Schedule(setup.training.schedule));
      CHECK_NOTHROW(parse_augmentation(setup.training.augmentation));
    }
    for (const Subject& s : mnist.subjects)
      for (const LayerSpec& layer : s.spec().layers)
        if (layer.has_weight()) CHECK(layer.rate == s.rate);
  }
  // A3: a bucket for 8 and for 64 weights of every layer, plus plain biases.
  const std::vector<Subject> family = liu2018::mnist_setup(study::Scale::full).subjects;
  CHECK(parameter_count(family[0].spec()) == 3423498);
  CHECK(parameter_count(family[1].spec()) == 427848 + 714);
  CHECK(parameter_count(family[4].spec()) == 53481 + 714);
}

TEST_CASE("liu2018: cells are A-ALG1 on the network, inhibited or not") {
  const testing::TempDir folder;
  const study::StudyFlags flags = testing::flags_in(folder);
  study::Study study({.folder = flags.output, .quiet = true});
  Experiment e(small(), flags, study);
  for (const study::Part& part : all_parts(e)) {
    for (const report::Table& table : part.tables) CHECK(contains(to_text(table), "not run"));
    for (const std::string& sentence : part.findings)
      CHECK(sentence.ends_with("Not judged: cells are missing."));
    CHECK(part.pictures.empty());
  }
  for (const Subject& s : e.setup().subjects)
    for (const Inhibition& inhibition : e.setup().inhibitions()) CHECK_FALSE(e.gradients(s, inhibition));
  study.run(1e9);

  const std::vector<double>& eps = e.setup().eps;
  bool returns = false;  // to the clean prediction, at a larger eps
  for (const Subject& s : e.setup().subjects)
    for (const Inhibition& inhibition : {Inhibition{}, Inhibition{20, "last:1"}, Inhibition{20, "last:2"}}) {
      Model model = study.network(s.name).clone();
      if (!inhibition.none()) gradient_inhibition_1(model, inhibition.tau, inhibition.layers);
      for (const char* loss : {"ce", "ce-exact"}) {
        const std::optional<liu2018::Attacked> cell = e.hfgsm(s, inhibition, loss, n);
        REQUIRE(cell);
        const auto [fixed, grown] = by_hand(model, loss, eps);
        CHECK(hits(cell->fixed) == fixed);
        CHECK(hits(cell->grown) == grown);
        returns = returns || fixed != grown;
      }
      const Tensor gradient = Oracle(model).gradient(first_images(), {}, "ce").gradient;
      const std::vector<bool> zero = zero_rows(gradient);
      const int64_t zeros = std::count(zero.begin(), zero.end(), true);
      CHECK(e.hfgsm(s, inhibition, "ce", n)->zero.hits == zeros);
      const std::optional<GradientHistogram> histogram = e.gradients(s, inhibition);
      REQUIRE(histogram);
      CHECK(histogram->zeros == zeros);
      CHECK(histogram->counts == gradient_histogram(gradient).counts);
      const Dataset test =
          load_dataset("synthetic-digits", Split::test, {.data_dir = {}, .first = n, .resize = {}});
      CHECK(e.accuracy(s, inhibition, n)->hits == evaluate(model, test).correct);
    }
  CHECK(returns);
  const Subject& plain = e.setup().subjects[0];
  CHECK(e.accuracy(plain, {}, 2 * n)->trials == 2 * n);
  // The two kinds of inhibition differ, or one of the columns would be the other's.
  const std::optional<GradientHistogram> last = e.gradients(plain, {20, "last:1"}),
                                         both = e.gradients(plain, {20, "last:2"});
  CHECK(last->counts != both->counts);
}

TEST_CASE("liu2018: sentences follow the cells, and an inhibited number never stands without the exact one") {
  const testing::TempDir folder;
  const study::StudyFlags flags = testing::flags_in(folder);
  study::Study study({.folder = flags.output, .quiet = true});
  Experiment e(small(), flags, study);
  all_parts(e);
  study.run(1e9);
  for (const study::Part& part : all_parts(e)) {
    for (const report::Table& table : part.tables) CHECK_FALSE(contains(to_text(table), "not run"));
    for (const std::string& sentence : part.findings) {
      CHECK_FALSE(contains(sentence, "Not judged"));
      const bool judged = contains(sentence, "t held") || contains(sentence, "t did not hold");
      // Of another tau than the paper's 0.1 nothing is said about the paper.
      const bool apart = contains(sentence, "A-F10a") && e.setup().taus.back() != 0.1;
      CHECK(judged != apart);
      CHECK(contains(sentence, "with this tau") == apart);
      if (contains(sentence, "A-F10a")) CHECK(contains(sentence, "exact direction"));
    }
  }
  const std::vector<Subject>& subjects = e.setup().subjects;
  size_t below = 0;
  const auto grown = [&](size_t subject, size_t b) {
    return e.hfgsm(subjects[subject], {}, "ce", n)->grown[b].hits;
  };
  for (size_t b = 0; b < e.setup().eps.size(); ++b) {
    CHECK(grown(1, b) == grown(0, b));
    below += grown(2, b) < grown(0, b);
  }
  CHECK(contains(hfgsm(e).findings[0], fmt::format(" {} of {} points are", below, 2 * e.setup().eps.size())));
  const double growth = e.weights(subjects[2])->range / e.weights(subjects[0])->range;
  REQUIRE(weights(e).findings.size() == 1);  // this study has no network at 1/16
  CHECK(contains(weights(e).findings[0], fmt::format("Measured: {:.2f} times", growth)));
  CHECK(contains(weights(e).findings[0], growth >= 2.5 ? "It held" : "It did not hold"));
  CHECK(liu2018::half_of(1, 2));
  CHECK_FALSE(liu2018::half_of(0.9, 2));
  CHECK(liu2018::half_of(-1, -2));
  CHECK_FALSE(liu2018::half_of(1, -2));
  const auto percent = [&](double tau, const char* loss) {
    return 100 * e.hfgsm(subjects[0], {tau, "last:2"}, loss, n)->success().value();
  };
  const double zero = 100 * e.hfgsm(subjects[0], {20, "last:2"}, "ce", n)->zero.value();
  const std::vector<std::string> sentences = inhibition(e).findings;
  CHECK(std::any_of(sentences.begin(), sentences.end(), [&](const std::string& s) {
    return contains(s, "A-F10a, last:2") && contains(s, "on the uncompressed network") &&
           contains(s, fmt::format("with tau 20: from {:.2f} to {:.2f} %, where {:.2f} %", percent(0, "ce"),
                                   percent(20, "ce"), zero)) &&
           contains(s, fmt::format("same loss from {:.2f} to {:.2f} %", percent(0, "ce-exact"),
                                   percent(20, "ce-exact")));
  }));
  const std::vector<study::Picture> pictures = inhibition(e).pictures;
  REQUIRE(pictures.size() == 2);
  CHECK(pictures[0].png.starts_with("\x89PNG"));
  CHECK(pictures[0].png != pictures[1].png);
}

TEST_CASE("liu2018: a page holds its pictures, and puts them beside itself") {
  const testing::TempDir folder;
  const study::StudyFlags flags = testing::flags_in(folder);
  const study::Study study({.folder = flags.output, .quiet = true});
  study::Page page{"title", "source", {}, {}, {}, {}};
  page.add({.findings = {"A finding."}, .pictures = {{"cat", "A cat.", "\x89PNG bytes"}}});
  show(page, flags, study);
  CHECK(read_file(flags.output + "/cat.png") == "\x89PNG bytes");
  const std::string html = read_file(flags.output + "/report.html");
  CHECK(contains(html, "A cat."));
  CHECK(contains(html, report::base64("\x89PNG bytes")));
  CHECK(contains(html, "A finding."));
}

}  // namespace hashgrad
