// The checks of an evaluation, held to networks of which it is known what they must say: a plain one, one
// that is really robust, and networks that hide their gradients in different ways.
#include <algorithm>
#include <doctest/doctest.h>
#include <map>
#include <set>
#include <span>

#include "attacks/checks/evaluation.h"
#include "attacks/registry.h"
#include "attacks/target.h"
#include "autograd/ops/arithmetic.h"
#include "compression/fixed_point.h"
#include "datasets/synthetic_digits.h"
#include "defenses/adversarial_training.h"
#include "defenses/defensive_dropout.h"
#include "defenses/distillation.h"
#include "defenses/gradient_inhibition.h"
#include "defenses/input_transforms.h"
#include "tests/attack_models.h"

using namespace hashgrad;
using namespace hashgrad::testing;

namespace {

std::set<std::string> ids_of(const Evaluation& e, Verdict verdict) {
  std::set<std::string> ids;
  for (const auto& [check, finding] : e.findings)
    if (finding.verdict == verdict) ids.insert(check.id);
  return ids;
}

Finding finding_of(const std::string& id, Evidence& evidence) {
  for (const Check& check : all_checks())
    if (check.id == id) return check.run(evidence);
  FAIL("no check " << id);
  return {};
}

/// A net that breaks easily, with its images.
struct Plain {
  Model model = small_net();
  Tensor x = images(40, model.input_shape());
  AttackInput input{x, own_labels(model, x), {}, {}};
  Threat threat{Norm::linf, 0.15};
};

/// Logits `scale` times as large, by the last layer.
Model scaled(const Model& model, float scale) {
  Model twin = model.clone();
  for (const char* name : {"6.weight", "6.bias"})
    for (float& w : std::span(twin.parameter(name).value().data<float>(),
                              static_cast<size_t>(twin.parameter(name).numel())))
      w *= scale;
  return twin;
}

TEST_CASE("checks: a plain network is broken without a warning") {
  const Plain plain;
  for (const Norm norm : {Norm::linf, Norm::l2}) {
    Evidence evidence(plain.model, plain.input, {norm, norm == Norm::linf ? 0.3 : 1.5});
    const Evaluation e = evaluate_robustness(evidence);
    CAPTURE(e.reason);
    CHECK(ids_of(e, Verdict::masked).empty());
    CHECK(e.verdict == Verdict::passed);
    CHECK(e.clean.hits == 40);
    CHECK(e.robust.hits < 10);
    CHECK(e.curve.back().standard.hits == 40);
  }
}

TEST_CASE("checks: a robust network is not accused") {
  // Class 1 is a bright first pixel, and pixels are black or white: no change below 0.5 helps.
  const Model model = linear_model({-8, 0, 8, 0}, {4, -4}, DType::float32);
  Tensor x = Tensor::zeros({30, 1, 1, 2});
  std::vector<int64_t> labels;
  for (int64_t i = 0; i < 30; ++i) {
    x.data<float>()[2 * i] = static_cast<float>(i % 2);
    x.data<float>()[2 * i + 1] = static_cast<float>(i % 3) / 2;
    labels.push_back(i % 2);
  }
  Evidence evidence(model, {x, classes(labels), {}, {}}, {Norm::linf, 0.3});
  const Evaluation e = evaluate_robustness(evidence);
  CAPTURE(e.reason);
  CHECK(e.verdict == Verdict::passed);
  CHECK(e.robust.hits == 30);
  CHECK(e.curve.back().standard.hits == 30);
}

TEST_CASE("checks: gradient inhibition is seen through, for the right reasons") {
  const Plain plain;
  Model inhibited = plain.model.clone();
  gradient_inhibition_1(inhibited, 400);
  const Tensor y = own_labels(inhibited, plain.x);
  Evidence evidence(inhibited, {plain.x, y, {}, {}}, plain.threat);
  const Evaluation e = evaluate_robustness(evidence);
  CAPTURE(e.reason);
  const std::set<std::string> masked = ids_of(e, Verdict::masked);
  for (const char* id : {"D2", "D4", "D8", "D10", "D16"}) {
    CAPTURE(id);
    CHECK(masked.contains(id));
  }
  CHECK_FALSE(masked.contains("D1"));
  CHECK_FALSE(masked.contains("D3"));
  CHECK(e.verdict == Verdict::masked);
  CHECK(e.robust.hits < 10);              // seen through
  CHECK(e.ensemble[0].broken.hits < 20);  // while fgsm fails
}

TEST_CASE("checks: a network that draws its weights at every answer is found out by its draws") {
  const Plain plain;
  Evidence quiet(plain.model, plain.input, plain.threat);
  CHECK(finding_of("D5", quiet).verdict == Verdict::passed);
  const auto judged = [&](double eps) {
    Model drawing = plain.model.clone();
    gradient_inhibition_3(drawing, eps, Redraw::forward, "all");
    const AttackInput input{plain.x, classes(Oracle::judge(drawing).predict(plain.x)), {}, {}};
    Evidence evidence(drawing, input, {Norm::linf, 0.2});
    return finding_of("D5", evidence);
  };
  const Finding strong = judged(0.5), weak = judged(1e-6);
  CAPTURE(strong.reason);
  CAPTURE(weak.reason);
  CHECK(strong.verdict == Verdict::masked);
  CHECK(strong.reason.find("answers change from draw to draw") == 0);
  CHECK(strong.samples.size() >= 2);
  CHECK(weak.verdict == Verdict::inconclusive);
  CHECK(weak.reason.find("answers change from draw to draw in 0 of") == 0);
}

TEST_CASE("checks: every question can be put to a randomised network") {
  const Plain plain;
  Model drawing = plain.model.clone();
  gradient_inhibition_3(drawing, 6, Redraw::forward, "last:2");
  drawing.add_transform(make_input_transform("bit-depth", 8));
  const Tensor x = images(10, drawing.input_shape());
  const AttackInput input{x, classes(Oracle::judge(drawing).predict(x)), {}, {}};
  Evidence evidence(drawing, input, plain.threat, {.draws = {.count = 4, .judge = 5}});
  const Evaluation e = evaluate_robustness(evidence);
  CAPTURE(e.reason);
  CHECK(e.findings.size() == all_checks().size());
  CHECK(e.verdict != Verdict::passed);
  CHECK(ids_of(e, Verdict::not_applicable) == std::set<std::string>{"D4", "D13", "D22"});
  std::vector<std::string> names;
  for (const EnsembleRow& row : e.ensemble) names.push_back(row.spec);
  for (const char* past : {"", "bpda "})  // over draws and past the transform at once, too
    CHECK(std::count(names.begin(), names.end(),
                     std::string(past) + "pgd:iters=40,norm=linf,eps=0.15 over 4 draws") == 1);
}

TEST_CASE("checks: a network that draws a little at every answer is not accused of what attacks give away") {
  const Plain plain;
  Model drawing = plain.model.clone();
  defensive_dropout(drawing, 0.3);
  const AttackInput input{plain.x, classes(Oracle::judge(drawing).predict(plain.x)), {}, {}};
  Evidence evidence(drawing, input, plain.threat);
  for (const char* id : {"D7", "D8", "D9", "D10", "D11"}) {
    const Finding finding = finding_of(id, evidence);
    CAPTURE(id);
    CAPTURE(finding.reason);
    CHECK(finding.verdict == Verdict::passed);
  }
  // The worst case counts what was found over draws, too.
  std::vector<bool> any(static_cast<size_t>(evidence.rows()));
  for (const std::string& spec : ensemble_specs(evidence))
    any = either(any, evidence.within(evidence.attack(spec)));
  for (const std::string& spec : specs_over_draws(evidence))
    any = either(any, evidence.within(evidence.over_draws(spec)));
  CHECK(finding_of("D15", evidence).reason.find(fmt::format("all together {}:", count(any))) !=
        std::string::npos);
}

TEST_CASE("checks: logits of a thousand times the size, as distillation leaves them") {
  const Plain plain;
  const Model large = scaled(plain.model, 1000);
  Evidence evidence(large, plain.input, plain.threat);
  CHECK(finding_of("D2", evidence).verdict == Verdict::masked);
  const Finding scale = finding_of("D4", evidence);
  CHECK(scale.verdict == Verdict::masked);
  CHECK(scale.samples.size() > 10);
  CHECK(finding_of("D17", evidence).verdict == Verdict::masked);
}

/// Digits that training has seen or not seen, for networks that are trained here.
const Dataset& digits(Split split) {
  static const Dataset train = synthetic_digits(Split::train, 1000), test = synthetic_digits(Split::test, 60);
  return split == Split::train ? train : test;
}

AttackInput unseen_digits() {
  const Dataset& data = digits(Split::test);
  return {data.images_float(0, data.size()), data.labels, {}, {}};
}

const char* const digits_net = "1x28x28 conv4k4s4 relu flatten fc32 relu fc10";

TrainOptions digits_training(int64_t epochs) {
  return {.epochs = epochs, .batch = 50, .optimizer = parse_optimizer("adam"), .lr = 0.01};
}

TEST_CASE("checks: weights near the largest float are scaled as far as they go") {
  const Plain plain;
  const Model huge = scaled(plain.model, 1e36f);
  Evidence evidence(huge, plain.input, plain.threat, {.seed = 1});
  const Finding scale = finding_of("D4", evidence);
  CHECK(scale.reason.find("at 10") != std::string::npos);
  CHECK(scale.reason.find("at 1000") == std::string::npos);
}

TEST_CASE("checks: pixels rounded to few levels, by the gradient that is zero in every direction") {
  const Plain plain;
  Model squeezed = plain.model.clone();
  add_input_transform(squeezed, "bit-depth", 3);
  Evidence evidence(squeezed, {plain.x, own_labels(squeezed, plain.x), {}, {}}, plain.threat);
  const Evaluation e = evaluate_robustness(evidence);
  CAPTURE(e.reason);
  const std::set<std::string> masked = ids_of(e, Verdict::masked);
  for (const char* id : {"D2", "D8", "D10"}) {
    CAPTURE(id);
    CHECK(masked.contains(id));
  }
  for (const char* id : {"D1", "D4", "D5", "D17"}) {
    CAPTURE(id);
    CHECK_FALSE(masked.contains(id));
  }
  CHECK(finding_of("D2", evidence).reason ==
        "the cross-entropy gradient of 40 of 40 images is exactly zero, so attacks that follow it do not "
        "start; along the exact direction 40 are zero");
  // Seen through by the attacks that take the transform for the identity, and by those alone.
  std::map<std::string, int64_t> hits;
  for (const EnsembleRow& row : e.ensemble) hits[row.spec] = row.broken.hits;
  CHECK(hits.at("fgsm:eps=0.15") == 0);
  CHECK(hits.at("bpda fgsm:eps=0.15") > 10);
  CHECK(hits.at("bpda pgd:iters=40,norm=linf,eps=0.15") > 15);
  CHECK(e.robust.hits <= 40 - hits.at("bpda pgd:iters=40,norm=linf,eps=0.15"));
}

TEST_CASE("checks: rounded activations have no slope, and are not accused for that") {
  const Plain plain;
  const Model rounded = compress_fixed_point(plain.model, {.format = {8, 3}});
  const Tensor y = own_labels(rounded, plain.x);
  Evidence evidence(rounded, {plain.x, y, {}, {}}, plain.threat);
  const Evaluation e = evaluate_robustness(evidence);
  CAPTURE(e.reason);
  CHECK(ids_of(e, Verdict::masked).empty());
  const std::string reason = finding_of("D3", evidence).reason;
  CHECK(reason.find("0 of 40 images have a gradient that differs") == 0);
  CHECK(reason.find("both without the rounding of activations, which has no slope") != std::string::npos);
}

TEST_CASE("checks: equal pixels, which pooling has a kink at, are no false slope in l0") {
  const Model model("1x6x6 conv4k3p1 relu maxpool2 flatten fc5", {.seed = 3});
  Tensor x = images(40, model.input_shape());
  for (float& pixel : std::span(x.data<float>(), static_cast<size_t>(x.numel())))
    pixel = pixel < 0.7F ? 0 : pixel;  // a black background
  Evidence evidence(model, {x, own_labels(model, x), {}, {}}, {Norm::l0, 1});
  const Finding finding = finding_of("D3", evidence);
  CAPTURE(finding.reason);
  CHECK(finding.verdict == Verdict::passed);
}

TEST_CASE("checks: a median filter has the slope that it says") {
  const Plain plain;
  Model filtered = plain.model.clone();
  add_input_transform(filtered, "median", 2);
  Evidence evidence(filtered, {plain.x, own_labels(filtered, plain.x), {}, {}}, plain.threat);
  const Finding finding = finding_of("D3", evidence);
  CAPTURE(finding.reason);
  CHECK(finding.verdict == Verdict::passed);
}

TEST_CASE("checks: a distilled network, by gradients that underflow and come back with smaller logits") {
  constexpr double temperature = 100;
  Model teacher(digits_net, {.seed = 1}), student(digits_net, {.seed = 1});
  TrainOptions options = digits_training(10);
  options.temperature = temperature;
  train(teacher, digits(Split::train), options);
  distil_from(teacher, temperature, options);
  train(student, digits(Split::train), options);
  Evidence evidence(student, unseen_digits(), {Norm::linf, 0.1});
  CHECK(evidence.rows() > 40);  // it has learned its task
  CHECK(finding_of("D2", evidence).verdict == Verdict::masked);
  CHECK(finding_of("D4", evidence).verdict == Verdict::masked);
  CHECK(finding_of("D3", evidence).verdict == Verdict::passed);  // the slope of the margin is as told
}

// Minutes under sanitizers, through code that the other cases run there as well.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool sanitized = true;
#else
constexpr bool sanitized = false;
#endif

TEST_CASE("checks: a network trained against pgd is not accused" * doctest::skip(sanitized)) {
  Model model(digits_net, {.seed = 1}), plain(digits_net, {.seed = 1});
  TrainOptions options = digits_training(10);
  options.lr = 0.002;
  train(plain, digits(Split::train), options);
  AdversarialTraining recipe = AdversarialTraining::of("pgd", 0.1);
  recipe.iters = 7, recipe.step = 0.025;
  train_adversarially(model, recipe, options);
  train(model, digits(Split::train), options);
  Evidence evidence(model, unseen_digits(), {Norm::linf, 0.1});
  const Evaluation e = evaluate_robustness(evidence);
  for (const auto& [check, finding] : e.findings) {
    CAPTURE(check.id);
    CAPTURE(finding.reason);
    CHECK(finding.verdict != Verdict::masked);
  }
  CHECK(e.robust.hits >= 15);
  CHECK(pgd_accuracy(model, digits(Split::test), 0.1) > pgd_accuracy(plain, digits(Split::test), 0.1) + 0.2);
}

/// Answers as if it were not there, until it has seen `patience` images: then darker.
class Fatigue : public InputTransform {
 public:
  explicit Fatigue(int64_t patience) : left_(patience) {}
  Tensor forward(const Tensor& x) const override {
    left_ -= x.size(0);
    return left_ < 0 ? step(x, -0.5, x) : x;
  }
  Tensor backward(const Tensor&, const Tensor& dy, int64_t) const override { return dy; }

 private:
  mutable int64_t left_;
};

/// What it sees is what it gets, but its gradient is not: each pixel's has `share` of its neighbour's on top,
/// or twice its own where the first pixel is white.
class Slanted : public InputTransform {
 public:
  explicit Slanted(double share) : share_(share) {}
  Tensor forward(const Tensor& x) const override { return x; }
  Tensor backward(const Tensor& x, const Tensor& dy, int64_t) const override {
    const std::vector<double> pixels = x.to_vector<double>(), g = dy.to_vector<double>();
    const size_t n = 36;
    std::vector<double> told(g.size());
    for (size_t i = 0; i < g.size(); ++i) {
      const size_t row = i / n * n;
      told[i] = pixels[row] > 0.5 ? 2 * g[i] : g[i] + share_ * g[row + (i + 1) % n];
    }
    return Tensor::of(told, dy.shape());
  }

 private:
  double share_;
};

TEST_CASE("checks: a gradient that is wrong for more than a tenth of the images is no slope") {
  const auto found = [](double share, int64_t white) {
    Plain plain;
    for (int64_t i = 0; i < 40; ++i) plain.x.data<float>()[36 * i] = i < white ? 1.0F : 0.0F;
    plain.model.add_transform(std::make_shared<Slanted>(share));
    Evidence evidence(plain.model, {plain.x, own_labels(plain.model, plain.x), {}, {}}, {Norm::linf, 0.1});
    return finding_of("D3", evidence);
  };
  CHECK(found(0, 0).verdict == Verdict::passed);
  CHECK(found(0, 4).verdict == Verdict::passed);  // of 40
  CHECK(found(0, 5).verdict == Verdict::masked);
  CHECK(found(0, 5).samples == std::vector<int64_t>{0, 1, 2, 3, 4});
  // 3 % of a vector across it: a tenth of the slope in one direction of five, but rarely in three of four.
  CHECK(found(0.03, 0).verdict == Verdict::passed);
}

/// Counts its questions in the first bias, which is moved by less than any answer shows.
class Wear : public InputTransform {
 public:
  explicit Wear(Tensor bias) : bias_(std::move(bias)) {}
  Tensor forward(const Tensor& x) const override {
    bias_.data<float>()[0] += 1e-30F;
    return x;
  }
  Tensor backward(const Tensor&, const Tensor& dy, int64_t) const override { return dy; }

 private:
  mutable Tensor bias_;
};

TEST_CASE("checks: a weight that moves while the model is asked, though no answer shows it") {
  Plain plain;
  Tensor bias = plain.model.parameter("0.bias").value();
  bias.data<float>()[0] = 0;
  plain.model.add_transform(std::make_shared<Wear>(bias));
  plain.input.y = own_labels(plain.model, plain.x);
  Evidence evidence(plain.model, plain.input, plain.threat);
  const Finding found = finding_of("D6", evidence);
  CHECK(found.verdict == Verdict::masked);
  CHECK(found.reason.ends_with("1 weights or buffers have moved, such as 0.bias"));
}

TEST_CASE("checks: an answer that depends on the questions before it") {
  const Plain plain;
  Evidence honest(plain.model, plain.input, plain.threat);
  const Finding fixed = finding_of("D6", honest);
  CHECK(fixed.verdict == Verdict::passed);
  CHECK(fixed.reason.find("8 images alone, twice, and after 1000 others") == 0);
  Model tired = plain.model.clone();
  tired.add_transform(std::make_shared<Fatigue>(900));
  Evidence evidence(tired, plain.input, plain.threat);
  CHECK(finding_of("D5", evidence).verdict == Verdict::passed);  // it asks too little
  const Finding found = finding_of("D6", evidence);
  CHECK(found.verdict == Verdict::masked);
  CHECK(found.samples.size() == 8);
}

TEST_CASE(
    "checks: the checks are put to the same network with its gradients hidden, or say that they are blind") {
  const Plain plain;
  for (const DType dtype : {DType::float32, DType::float64}) {
    const Model model = plain.model.to(dtype);
    const Tensor x = plain.x.to(dtype);
    Evidence evidence(model, {x, own_labels(model, x), {}, {}}, plain.threat);
    const Finding sharp = finding_of("D22", evidence);
    CAPTURE(sharp.reason);
    CHECK(sharp.verdict == Verdict::passed);
    CHECK(sharp.reason.find("of 16 images without a gradient: noticed by D2, D8, D4") != std::string::npos);
    CHECK(count(evidence.worst_case()) == 0);  // another network was attacked
  }
  // One image is below what any check calls notable.
  Evidence one(plain.model,
               {plain.x.slice(0, 0, 1).contiguous(),
                own_labels(plain.model, plain.x).slice(0, 0, 1).contiguous(),
                {},
                {}},
               plain.threat);
  const Finding blind = finding_of("D22", one);
  CAPTURE(blind.reason);
  CHECK(blind.verdict == Verdict::inconclusive);
  CHECK(blind.reason.find("not by D2, D8, D4, whose silence says nothing here") != std::string::npos);
  const Model shown = Model("1x1x2 flatten fc2 relu", {.seed = 3});  // no weights behind which all is scaled
  const Tensor pixels = images(4, {1, 1, 2});
  Evidence behind(shown, {pixels, own_labels(shown, pixels), {}, {}}, plain.threat);
  CHECK(finding_of("D22", behind).verdict == Verdict::not_applicable);
}

TEST_CASE("checks: probabilities in the place of logits") {
  const Model model = linear_model({1, -1}, {0, 1}, DType::float32);  // x and 1 - x
  const Tensor x = Tensor::of<float>({0.1f, 0.8f, 0.3f}, {3, 1, 1, 1});
  Evidence evidence(model, {x, own_labels(model, x), {}, {}}, {Norm::linf, 0.1});
  CHECK(finding_of("D1", evidence).verdict == Verdict::masked);
}

TEST_CASE("checks: a gradient that is not a number") {
  Model model = linear_model({1e38, -1e38, -1e38, 1e38}, {0, 0}, DType::float32);
  const Tensor x = Tensor::of<float>({1, 0.5f, 0.5f, 1}, {2, 1, 1, 2});
  Evidence evidence(model, {x, own_labels(model, x), {}, {}}, {Norm::linf, 0.1});
  CHECK(finding_of("D2", evidence).verdict == Verdict::masked);  // zero here: the logits differ by 1e38
}

TEST_CASE("checks: a gradient that overflows") {
  const Model model = linear_model({3e38, -3e38, -3e38, -3e38, -3e38}, {0.01, 0, 0, 0, 0}, DType::float32);
  const Tensor x = Tensor::zeros({3, 1, 1, 1});  // -0.8 * 3e38 - 4 * 0.2 * 3e38
  Evidence evidence(model, {x, own_labels(model, x), {}, {}}, {Norm::linf, 0.1});
  const Finding finding = finding_of("D2", evidence);
  CHECK(finding.verdict == Verdict::masked);
  CHECK(finding.reason == "the cross-entropy gradient of 3 of 3 images is not a number");
}

TEST_CASE("checks: images without a gradient count from two on, and from one in a hundred") {
  const Model model =
      linear_model({0, 4000}, {0, -3600}, DType::float32);  // z_1 is -2000 at 0.4, -2 at 0.8995
  const auto verdict = [&](int64_t flat, int64_t n) {
    Tensor x = Tensor::full({n, 1, 1, 1}, 0.8995);
    for (int64_t i = 0; i < flat; ++i) x.data<float>()[i] = 0.4F;
    Evidence evidence(model, {x, Tensor::zeros({n}, DType::int64), {}, {}}, {Norm::linf, 0.1});
    const Finding finding = finding_of("D2", evidence);
    CHECK(std::ssize(finding.samples) == flat);
    return finding.verdict;
  };
  CHECK(verdict(1, 3) == Verdict::passed);
  CHECK(verdict(2, 3) == Verdict::masked);
  CHECK(verdict(3, 300) == Verdict::passed);
  CHECK(verdict(4, 300) == Verdict::masked);
}

/// Not there on the way forward; on the way back it multiplies by `slope`.
class Pretence : public InputTransform {
 public:
  explicit Pretence(double slope) : slope_(slope) {}
  Tensor forward(const Tensor& x) const override { return x; }
  Tensor backward(const Tensor&, const Tensor& dy, int64_t) const override { return dy * slope_; }

 private:
  double slope_;
};

TEST_CASE("checks: a gradient that is not the slope") {
  const Plain plain;
  for (const double slope : {1.0, 1.05, 0.8, -1.0, 0.0}) {
    Model model = plain.model.clone();
    model.add_transform(std::make_shared<Pretence>(slope));
    Evidence evidence(model, plain.input, plain.threat);
    const Finding finding = finding_of("D3", evidence);
    CAPTURE(slope);
    CAPTURE(finding.reason);
    CHECK(finding.verdict == (slope >= 1 ? Verdict::passed : Verdict::masked));
  }
}

/// Darker at every answer, by a little.
class Dusk : public InputTransform {
 public:
  Tensor forward(const Tensor& x) const override { return step(x, -1e-4 * static_cast<double>(++asked_), x); }
  Tensor backward(const Tensor&, const Tensor& dy, int64_t) const override { return dy; }

 private:
  mutable int64_t asked_ = 0;
};

TEST_CASE("checks: an answer that changes and no word of it in the model") {
  const Plain plain;
  Model model = plain.model.clone();
  model.add_transform(std::make_shared<Dusk>());
  Evidence evidence(model, plain.input, plain.threat);
  const Finding finding = finding_of("D5", evidence);
  CHECK(finding.verdict == Verdict::masked);
  CHECK(finding.reason == "logits differ from one pass to the next, and the model does not say why");
}

/// One pixel; logits 0 and sum_i slopes[i] max(0, x - kinks[i]) + offset.
Model bent(const std::vector<double>& kinks, const std::vector<double>& slopes, double offset) {
  const int64_t n = static_cast<int64_t>(kinks.size());
  Model model(fmt::format("1x1x1 flatten fc{} relu fc2", n), {.init = Init::zeros});
  std::vector<double> biases, last(static_cast<size_t>(n), 0);
  for (const double kink : kinks) biases.push_back(-kink);
  last.insert(last.end(), slopes.begin(), slopes.end());
  const auto set = [&](const char* name, const std::vector<double>& values, const Shape& shape) {
    model.parameter(name).value().copy_from(Tensor::of(values, shape).to(DType::float32));
  };
  set("1.weight", std::vector<double>(static_cast<size_t>(n), 1), {n, 1});
  set("1.bias", biases, {n});
  set("3.weight", last, {2, n});
  set("3.bias", {0, offset}, {2});
  return model;
}

/// n images of one pixel, evenly from `low` to `high`, all of class 0.
AttackInput greys(int64_t n, double low, double high) {
  std::vector<double> pixels;
  for (int64_t i = 0; i < n; ++i)
    pixels.push_back(low + (high - low) * static_cast<double>(i) / static_cast<double>(n - 1));
  return {Tensor::of(pixels, {n, 1, 1, 1}).to(DType::float32), Tensor::zeros({n}, DType::int64), {}, {}};
}

TEST_CASE("checks: a hill that small steps do not get over") {
  // z_1 is -1 at 0.5, rises to 0.55, falls to 0.65 and rises again, to 8 at 0.9.
  const Model model = bent({0, 0.55, 0.65}, {2, -4, 42}, -2);
  Evidence evidence(model, greys(20, 0.48, 0.5), {Norm::linf, 0.4});
  const Finding finding = finding_of("D7", evidence);
  CAPTURE(finding.reason);
  CHECK(finding.verdict == Verdict::masked);
  CHECK(finding.samples.size() == 20);
}

TEST_CASE("checks: a cliff without a slope on this side of it is found without gradients") {
  const Model model = linear_model({0, 1e6}, {0, -9e5}, DType::float32);  // class 1 from 0.9 on
  Evidence evidence(model, greys(40, 0.65, 0.84), {Norm::linf, 0.3});
  for (const char* id : {"D2", "D8", "D9", "D10", "D11", "D14", "D16"}) {
    const Finding finding = finding_of(id, evidence);
    CAPTURE(id);
    CAPTURE(finding.reason);
    CHECK(finding.verdict == Verdict::masked);
  }
}

TEST_CASE("checks: a plain on which every start finds more") {
  const Model model = bent({0.8}, {100}, -1);  // no slope below 0.8, for no loss
  Evidence evidence(model, greys(40, 0.45, 0.55), {Norm::linf, 0.4});
  const Finding finding = finding_of("D12", evidence);
  CAPTURE(finding.reason);
  CHECK(finding.verdict == Verdict::inconclusive);
}

TEST_CASE("checks: a class that no untargeted attack aims at") {
  // Upwards class 1 comes nearer, and never arrives; class 2 is below 0.3, where the margin does not look.
  Model model("1x1x1 flatten fc2 relu fc3", {.init = Init::zeros});
  const auto set = [&](const char* name, const std::vector<float>& values, const Shape& shape) {
    model.parameter(name).value().copy_from(Tensor::of(values, shape));
  };
  set("1.weight", {1, 1}, {2, 1});
  set("1.bias", {0, -0.75F}, {2});
  set("3.weight", {0, 0, 2, -2, -10, 0}, {3, 2});
  set("3.bias", {0, -2, 3}, {3});
  Evidence evidence(model, greys(40, 0.48, 0.5), {Norm::linf, 0.3});
  const Finding finding = finding_of("D19", evidence);
  CAPTURE(finding.reason);
  CHECK(finding.verdict == Verdict::inconclusive);
  CHECK(finding.samples.size() >= 10);
}

TEST_CASE("checks: what is found without gradients accuses by what withstands those that follow them") {
  const Plain plain;
  Evidence easy(plain.model, plain.input, plain.threat);
  const std::vector<bool> none(40);
  std::vector<bool> broken = none;
  for (const std::string& spec : ensemble_specs(easy))
    if (spec != black_box_spec(easy)) broken = either(broken, easy.broken(spec));
  std::vector<bool> one = none, two = none;
  for (size_t i = 0; i < 40 && count(two) < 2; ++i)
    if (!broken[i]) one[i] = count(one) == 0, two[i] = true;
  REQUIRE(count(two) == 2);
  const auto verdict = [](Evidence& evidence, const std::vector<bool>& found) {
    return without_gradients(evidence, "a guess breaks", found).verdict;
  };
  CHECK(verdict(easy, none) == Verdict::passed);
  CHECK(verdict(easy, broken) == Verdict::passed);  // found by gradients as well
  CHECK(verdict(easy, one) == Verdict::passed);     // one image is no sign
  CHECK(verdict(easy, two) == Verdict::masked);
  Model inhibited = plain.model.clone();  // pgd does not start, the margin does
  gradient_inhibition_1(inhibited, 400);
  Evidence hidden(inhibited, {plain.x, own_labels(inhibited, plain.x), {}, {}}, plain.threat);
  CHECK(verdict(hidden, hidden.broken("pgd:iters=80,restarts=2,loss=margin," + hidden.ball())) ==
        Verdict::masked);
}

TEST_CASE("checks: rivals are aimed at one by one, and few images tell little") {
  const Plain plain;
  Evidence evidence(plain.model, plain.input, plain.threat);
  const std::string spec = "pgd:iters=20,loss=ce-exact," + evidence.ball();
  const std::vector<int64_t> runner_up =
      rivals(evidence.logits(), evidence.input().y, 0).to_vector<int64_t>();
  const AttackResult& first = evidence.attack_rival(spec, 0);
  const std::vector<int64_t> seen = evidence.judge().predict(first.x_adv);
  for (size_t i = 0; i < 40; ++i) CHECK((first.success.data<uint8_t>()[i] == 1) == (seen[i] == runner_up[i]));
  CHECK(count(succeeded(first)) > count(succeeded(evidence.attack_rival(spec, 3))));
  CHECK(finding_of("D20", evidence).verdict == Verdict::passed);
  Evidence few(plain.model,
               gather(AttackInput{plain.x, plain.input.y, {}, evidence.input().samples}, {0, 1, 2}),
               plain.threat);
  CHECK(finding_of("D20", few).verdict == Verdict::inconclusive);
}

TEST_CASE("checks: evidence is gathered once, and the worst case only grows") {
  const Plain plain;
  std::vector<std::string> runs;
  Evidence evidence(plain.model, plain.input, plain.threat,
                    {.progress = [&](const std::string& what) { runs.push_back(what); }});
  CHECK(count(evidence.worst_case()) == 0);
  const std::vector<bool> first = evidence.broken("fgsm:eps=0.15");
  CHECK(evidence.worst_case() == first);
  evidence.broken("fgsm:eps=0.15");
  CHECK(runs == std::vector<std::string>{"fgsm:eps=0.15"});
  evidence.broken("fgsm:eps=0.9");  // outside the budget: not counted
  CHECK(evidence.worst_case() == first);
  evidence.broken("bim:iters=20,eps=0.15");
  CHECK(count(without(first, evidence.worst_case())) == 0);
  const Distances far = distances(plain.x, evidence.nearest());
  for (size_t i = 0; i < 40; ++i) CHECK(far.linf.data<double>()[i] <= 0.15);
  const std::vector<bool> near = evidence.broken("fgsm:eps=0.05");
  evidence.broken("fgsm:eps=0.12");  // farther images take no nearer one's place
  REQUIRE(count(near) > 0);
  const Distances nearest = distances(plain.x, evidence.nearest());
  for (size_t i = 0; i < 40; ++i)
    if (near[i]) CHECK(nearest.linf.data<double>()[i] <= 0.05 + 1e-7);
}

TEST_CASE("checks: images that are wrong from the start are counted, not attacked") {
  Plain plain;
  for (int64_t i = 0; i < 10; ++i)
    plain.input.y.data<int64_t>()[i] = (plain.input.y.data<int64_t>()[i] + 1) % 5;
  Evidence evidence(plain.model, plain.input, plain.threat);
  CHECK(evidence.rows() == 30);
  CHECK(evidence.rows_given() == 40);
  CHECK(evidence.samples(std::vector<bool>(30, true)).front() == 10);
}

TEST_CASE("checks: what cannot be evaluated is refused with one line") {
  Plain plain;
  const auto error = [&](const AttackInput& input, const Threat& threat) {
    return error_of([&] { Evidence(plain.model, input, threat); });
  };
  CHECK(error(plain.input, {Norm::linf, 0}) == "report: a threat of eps 0 allows no attack");
  CHECK(error(plain.input, {Norm::linf, -1}).find("report: eps = -1") == 0);
  AttackInput wrong = plain.input;
  wrong.y = wrong.y.clone();
  for (int64_t i = 0; i < 40; ++i) wrong.y.data<int64_t>()[i] = (wrong.y.data<int64_t>()[i] + 1) % 5;
  CHECK(error(wrong, plain.threat) ==
        "report: the model gets none of the 40 images right; there is nothing to attack");
}

/// The evidence of 40 images in which every attack that is named here broke the first so many, whatever it
/// would have done, and every other one broke none.
struct Told {
  Plain plain;
  std::map<std::string, std::vector<bool>> broken;
  Evidence evidence{plain.model, plain.input, plain.threat, {.recall = [this](auto& what, auto&) {
                      return std::optional(result(broken[what]));
                    }}};

  static std::vector<bool> first(size_t count, size_t from = 0) {
    std::vector<bool> rows(40);
    std::fill_n(rows.begin() + static_cast<std::ptrdiff_t>(from), count, true);
    return rows;
  }
  AttackResult result(const std::vector<bool>& rows) const {
    AttackResult r = empty_result(plain.x, 40);
    for (auto& [name, tensor] : tensors_of(r)) Tensor(tensor).fill(0);
    r.x_adv.copy_from(plain.x);
    for (size_t i = 0; i < rows.size(); ++i) r.success.data<uint8_t>()[i] = rows[i];
    return r;
  }
};

TEST_CASE("checks: one image is never notable, nor is one in a hundred") {
  CHECK_FALSE(notable(1, 40));
  CHECK(notable(2, 40));
  CHECK(notable(2, 199));
  CHECK_FALSE(notable(2, 200));
  CHECK(notable(3, 200));
}

TEST_CASE("checks: success that falls with the budget, by one image at a time") {
  Told told;
  const std::vector<double> factors = curve_factors(told.evidence);
  for (const double factor : factors) told.broken[curve_spec(told.evidence, factor)] = Told::first(20);
  told.broken[curve_spec(told.evidence, factors[1])] = Told::first(19);
  told.broken[curve_spec(told.evidence, factors[2])] = Told::first(18);
  told.broken[curve_spec(told.evidence, factors.back())] = Told::first(40);
  const Finding found = finding_of("D8", told.evidence);
  CHECK(found.verdict == Verdict::masked);
  CHECK(found.reason == fmt::format("at eps {} there are 2 successes fewer than at a smaller eps",
                                    factors[2] * told.plain.threat.eps));
}

TEST_CASE("checks: what the last iterate breaks and the best does not was given away") {
  Told lost, given_away;
  const std::string best = curve_spec(lost.evidence, 1),
                    last = "bim:iters=20,no-early-stop," + lost.evidence.ball();
  lost.broken[best] = given_away.broken[last] = Told::first(2);
  const Finding found = finding_of("D13", lost.evidence);
  CHECK(found.verdict == Verdict::passed);
  CHECK(found.samples == std::vector<int64_t>{0, 1});
  CHECK(finding_of("D13", given_away.evidence).verdict == Verdict::masked);
}

TEST_CASE("checks: the same loss without underflow may add less than another loss") {
  // 3 of 40 are 7.5 %: above the 5 % of ce-exact, below the 25 % of the margin.
  for (const auto& [loss, verdict] : {std::pair{"ce-exact", Verdict::masked}, {"margin", Verdict::passed}}) {
    Told told;
    told.broken[fmt::format("pgd:iters=40,loss={},{}", loss, told.evidence.ball())] = Told::first(3);
    CHECK(finding_of("D16", told.evidence).verdict == verdict);
  }
}

TEST_CASE("checks: shares are of all images and of those right before, each with its interval") {
  Plain plain;
  for (int64_t i = 0; i < 10; ++i)
    plain.input.y.data<int64_t>()[i] = (plain.input.y.data<int64_t>()[i] + 1) % 5;
  Evidence evidence(plain.model, plain.input, plain.threat);
  // Wilson's interval of 30 of 30 begins at 1 / (1 + 1.96^2 / 30).
  CHECK(finding_of("D20", evidence).reason.ends_with("of those right before 30 of 30 [88.6, 100.0] %"));
}

TEST_CASE("checks: masking is the verdict though other questions are open; shares are of all images given") {
  Model inhibited = Plain().model;
  gradient_inhibition_1(inhibited, 400);
  const Tensor x = images(6, inhibited.input_shape());
  AttackInput input{x, own_labels(inhibited, x), {}, {}};
  for (int64_t i = 0; i < 2; ++i) input.y.data<int64_t>()[i] = (input.y.data<int64_t>()[i] + 1) % 5;
  Evidence evidence(inhibited, input, {Norm::linf, 0.02});
  const Evaluation e = evaluate_robustness(evidence);
  REQUIRE_FALSE(ids_of(e, Verdict::masked).empty());
  REQUIRE(ids_of(e, Verdict::inconclusive).contains("D20"));
  CHECK(e.verdict == Verdict::masked);
  CHECK(e.robust.trials == 6);
  CHECK(e.robust.hits == 4 - count(evidence.worst_case()));
}

TEST_CASE("checks: an image between two of the 255 steps may be stored on the other side of the boundary") {
  // Class 1 begins at 100.2 / 255, the image is at 100.3 and is stored at 100.
  const Model model = linear_model({-255, 255}, {100.2, -100.2});
  const Tensor x = Tensor::full({2, 1, 1, 1}, 0.2, DType::float64);
  Evidence evidence(model, {x, classes({0, 0}), {}, {}}, {Norm::linf, 0.5},
                    {.recall = [&](const std::string&, const Tensor&) {
                      AttackResult r = empty_result(x, 2);
                      for (auto& [name, tensor] : tensors_of(r)) Tensor(tensor).fill(0);
                      r.x_adv.fill(100.3 / 255);
                      r.success.fill(1);
                      return std::optional(r);
                    }});
  CHECK(finding_of("D21", evidence).reason ==
        "rounded to multiples of 1/255, 2 of 2 adversarial images are classified rightly again");
}

TEST_CASE("checks: more steps that find more leave the question open, fewer do not") {
  Told told, other;
  const std::string few = "pgd:iters=40,loss=margin," + told.evidence.ball(),
                    many = "pgd:iters=80,restarts=2,loss=margin," + told.evidence.ball();
  told.broken[many] = other.broken[few] = Told::first(3);
  CHECK(finding_of("D12", told.evidence).verdict == Verdict::inconclusive);
  CHECK(finding_of("D12", other.evidence).verdict == Verdict::passed);
}

TEST_CASE("checks: outputs between 0 and 1 are probabilities only if they add up to 1") {
  for (const auto& [bias, verdict] : {std::pair{0.5, Verdict::masked}, {0.25, Verdict::passed}}) {
    const Model model = linear_model({0.25, 0, -0.25, 0}, {0.5, bias});  // z_0 + z_1 = 0.5 + bias
    const Tensor x = Tensor::full({3, 1, 1, 2}, 0.5, DType::float64);
    Evidence evidence(model, {x, classes({0, 0, 0}), {}, {}}, {Norm::linf, 0.1});
    CHECK(finding_of("D1", evidence).verdict == verdict);
  }
}

}  // namespace
