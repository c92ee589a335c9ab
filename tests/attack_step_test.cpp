// Attacks that follow the gradient: fgsm, fgm, pgd; and the contracts that every attack keeps.
#include <cmath>
#include <doctest/doctest.h>
#include <limits>
#include <memory>
#include <numeric>

#include "attacks/fgm.h"
#include "attacks/fgsm.h"
#include "attacks/jsma.h"
#include "attacks/pgd.h"
#include "attacks/registry.h"
#include "attacks/target.h"
#include "attacks/transfer.h"
#include "core/parallel.h"
#include "defenses/gradient_inhibition.h"
#include "nn/evaluate.h"
#include "tests/attack_models.h"
#include "tests/engines_testing.h"

using namespace hashgrad;
using namespace hashgrad::testing;

namespace {

/// z_0 - z_1 = 2 x_0 - 3 x_1: the loss of class 0 grows along (-2, 3, 0).
Model two_classes(DType dtype = DType::float64, double lead = 0) {
  return linear_model({1, -2, 0, -1, 1, 0}, {lead, 0}, dtype);
}

AttackInput one_image(const std::vector<double>& pixels, int64_t label, DType dtype = DType::float64) {
  const int64_t n = static_cast<int64_t>(pixels.size());
  return {Tensor::of(pixels, {1, 1, 1, n}).to(dtype), classes({label}), {}, {}};
}

/// Every attack under each of its sample settings.
std::vector<std::unique_ptr<Attack>> sample_attacks() {
  std::vector<std::unique_ptr<Attack>> attacks;
  for (const AttackInfo& info : all_attacks()) {
    REQUIRE_FALSE(info.samples.empty());
    for (const std::string& settings : info.samples)
      attacks.push_back(make_attack(info.name + ":" + settings, 5));
  }
  return attacks;
}

/// An attack that does not do what it says.
class Broken : public Attack {
 public:
  explicit Broken(double shift) : shift_(shift) {}
  std::string name() const override { return "broken"; }
  std::string repr() const override { return "Broken()"; }
  std::optional<Threat> threat() const override { return Threat{Norm::linf, 0.1}; }

 protected:
  Crafted craft(const Oracle&, const AttackInput& input) const override {
    Crafted out(input.x);
    for (int64_t i = 0; i < input.x.numel(); ++i) out.x_adv.data<double>()[i] += shift_;
    out.first_success.assign(out.first_success.size(), 1);
    out.status.assign(out.status.size(), Status::ok);
    return out;
  }

 private:
  double shift_;
};

}  // namespace

TEST_CASE("fgsm takes the step that was derived by hand") {
  const Model model = two_classes();
  const AttackResult r = Fgsm({.eps = 0.25}).run(model, one_image({0.5, 0.25, 0.5}, 0));
  CHECK(r.x_adv.to_vector<double>() == std::vector<double>{0.25, 0.5, 0.5});  // sign(0) = 0
  CHECK(r.success.data<uint8_t>()[0] == 1);
  CHECK(r.first_success.data<int64_t>()[0] == 1);
  CHECK(status_of(r, 0) == Status::ok);
  CHECK(r.l0.data<double>()[0] == 2);
  CHECK(r.l1.data<double>()[0] == 0.5);
  CHECK(r.l2.data<double>()[0] == doctest::Approx(std::sqrt(0.125)));
  CHECK(r.linf.data<double>()[0] == 0.25);
  CHECK(r.forwards.data<int64_t>()[0] == 1);
  CHECK(r.backwards.data<int64_t>()[0] == 1);
}

TEST_CASE("every loss steps the same way on two classes, targeted and untargeted") {
  const Model model = two_classes();
  for (const std::string loss : {"ce", "ce-exact", "margin"}) {
    CAPTURE(loss);
    AttackInput input = one_image({0.5, 0.25, 0.5}, 0);
    CHECK(Fgsm({.eps = 0.25, .loss = loss}).run(model, input).x_adv.to_vector<double>() ==
          std::vector<double>{0.25, 0.5, 0.5});
    input.targets = classes({1});
    CHECK(Fgsm({.eps = 0.25, .loss = loss}).run(model, input).x_adv.to_vector<double>() ==
          std::vector<double>{0.25, 0.5, 0.5});
  }
}

TEST_CASE("fgsm stays in the box and marks rows that were wrong before") {
  const Model model = two_classes();
  const AttackResult r = Fgsm({.eps = 0.5}).run(model, one_image({0.25, 0.75, 1}, 0));  // predicted: class 1
  CHECK(r.x_adv.to_vector<double>() == std::vector<double>{0, 1, 1});
  CHECK(status_of(r, 0) == Status::already_wrong);
  CHECK(r.success.data<uint8_t>()[0] == 1);
  CHECK(r.first_success.data<int64_t>()[0] == 0);
}

TEST_CASE("fgsm against the model's own prediction ignores the label in the loss") {
  const Model model = two_classes();
  const AttackInput input =
      one_image({0.25, 0.75, 1}, 0);  // predicted: class 1, whose loss grows along (2,-3,0)
  CHECK(Fgsm({.eps = 0.125, .own_prediction = true}).run(model, input).x_adv.to_vector<double>() ==
        std::vector<double>{0.375, 0.625, 1});
}

TEST_CASE("fgm steps along the gradient, normalised or not") {
  const Model model = two_classes();
  const AttackInput input = one_image({0.5, 0.25, 0.5}, 0);
  const std::vector<double> unit = Fgm({.eps = 0.25}).run(model, input).x_adv.to_vector<double>();
  CHECK(unit[0] == doctest::Approx(0.5 - 0.25 * 2 / std::sqrt(13)));
  CHECK(unit[1] == doctest::Approx(0.25 + 0.25 * 3 / std::sqrt(13)));
  const double p = 1 / (1 + std::exp(0.25));  // of class 1
  const std::vector<double> raw =
      Fgm({.eps = 0.5, .normalise = false}).run(model, input).x_adv.to_vector<double>();
  CHECK(raw[0] == doctest::Approx(0.5 - 0.5 * p * 2));
  CHECK(raw[1] == doctest::Approx(0.25 + 0.5 * p * 3));
  CHECK(raw[2] == 0.5);
}

TEST_CASE("pgd reaches the corner of the ball in few steps and stops at the first success") {
  const Model model = two_classes();
  const AttackInput input = one_image({0.5, 0.25, 0.5}, 0);  // needs 5 eps > 0.25
  const AttackResult r =
      Pgd({.eps = 0.5, .step = 0.03125, .iters = 10, .random_start = false}).run(model, input);
  CHECK(r.first_success.data<int64_t>()[0] == 2);
  CHECK(r.x_adv.to_vector<double>() == std::vector<double>{0.4375, 0.3125, 0.5});
  const AttackResult full =
      Pgd({.eps = 0.125, .step = 0.03125, .iters = 10, .random_start = false, .early_stop = false})
          .run(model, input);
  CHECK(full.x_adv.to_vector<double>() == std::vector<double>{0.375, 0.375, 0.5});
  CHECK(full.first_success.data<int64_t>()[0] == 2);
  CHECK(full.backwards.data<int64_t>()[0] == 10);
  const AttackResult weak = Pgd({.eps = 0.03125, .iters = 4, .random_start = false}).run(model, input);
  CHECK(status_of(weak, 0) == Status::max_iter);
  CHECK(weak.success.data<uint8_t>()[0] == 0);
  CHECK(weak.first_success.data<int64_t>()[0] == -1);
}

TEST_CASE("a gradient that is exactly zero moves nothing and is reported") {
  const Model model = two_classes(DType::float32, 300);  // softmax of the other class underflows
  const AttackInput input = one_image({0.5, 0.25, 0.5}, 0, DType::float32);
  for (const std::string name : {"fgsm", "fgm", "pgd", "jsma"}) {
    CAPTURE(name);
    const AttackResult r = name == "fgsm"  ? Fgsm({.eps = 0.3}).run(model, input)
                           : name == "fgm" ? Fgm({.eps = 0.3}).run(model, input)
                           : name == "pgd" ? Pgd({.random_start = false}).run(model, input)
                                           : Jsma({.gamma = 1}).run(model, input);
    CHECK(identical(r.x_adv, input.x));
    CHECK(status_of(r, 0) == Status::zero_grad);
    CHECK(r.success.data<uint8_t>()[0] == 0);
  }
  const AttackResult exact = Fgsm({.eps = 0.25, .loss = "ce-exact"}).run(model, input);
  CHECK(exact.x_adv.to_vector<float>() == std::vector<float>{0.25F, 0.5F, 0.5F});
}

TEST_CASE("budget and box hold to the last bit in both element types, on every device alike") {
  // Images that reach both ends of the box, where the box cuts the ball; and grey ones, where the ball is all
  // there is.
  for (const Device device : all_devices())
    for (const DType dtype : {DType::float32, DType::float64})
      for (const double contrast : {1.0, 0.1}) {
        const int64_t n = device == Device{} ? 129 : 17;
        const Shape shape{n, 1, 3, 5};
        const Tensor here =
            step(Tensor::full(shape, 0.5 - contrast / 2, dtype), contrast, images(n, {1, 3, 5}, dtype));
        const Tensor x = here.to(device), away = images(n, {1, 3, 5}, dtype, 2).to(device);
        const Tensor gradient = step(x, -1, away);
        for (const Norm norm : {Norm::linf, Norm::l2})
          for (const double eps : {0.0, 1e-30, 1e-12, 0.1, 0.3, 8.0 / 255, 1.7}) {
            CAPTURE(eps);
            const Threat ball{norm, eps};
            const Tensor far = step(x, 7.3, steepest(gradient, norm)), back = project(far, x, ball);
            CHECK(identical(ascend(x, 7.3, gradient, x, ball), back));
            for (const Tensor& p :
                 {back, random_start(x, ball, 3, std::vector<int64_t>(static_cast<size_t>(n), 4), 0)}) {
              CHECK(p.device() == device);
              for (const Distances& d : {distances(x, p), distances(here, p.to(Device{}))}) {
                const std::vector<double> lengths = (norm == Norm::linf ? d.linf : d.l2).to_vector<double>();
                CHECK(std::all_of(lengths.begin(), lengths.end(), [&](double l) { return l <= eps; }));
              }
              CHECK(identical(clip(p), p));
            }
            CHECK(identical(project(x, x, ball), x));
          }
      }
}

TEST_CASE("rows are gathered, scattered and looked at where they are") {
  for (const Device device : all_devices()) {
    const Tensor x = Tensor::of<float>({1, 2, 0, 0, NAN, 3}, {3, 2}).to(device);
    const Tensor some = gather(x, {2, 0, 2});
    CHECK(some.device() == device);
    CHECK(identical(some.slice(0, 1, 2).contiguous(), x.slice(0, 0, 1).contiguous()));
    CHECK(identical(some.slice(0, 2, 3).contiguous(), x.slice(0, 2, 3).contiguous()));
    CHECK(zero_rows(x) == std::vector<bool>{false, true, false});
    CHECK(finite_rows(x) == std::vector<bool>{true, true, false});
    Tensor y = Tensor::zeros({3, 2}, DType::float32, device);
    scatter(y, {2, 0}, Tensor::of<float>({5, 6, 7, 8}, {2, 2}).to(device));
    CHECK(y.to_vector<float>() == std::vector<float>{7, 8, 0, 0, 5, 6});
    scatter(y, {1}, y, {2});
    CHECK(y.to_vector<float>() == std::vector<float>{7, 8, 5, 6, 5, 6});
    CHECK(gather(x, {}).shape() == Shape{0, 2});
    CHECK(error_of([&] { gather(x, {3}); }) == "gather: row 3 of 3");
    CHECK(error_of([&] { scatter(y, {0, 1}, gather(x, {0})); }) == "scatter: row 1 of 1");
  }
  for (const Device device : other_devices()) {
    const Tensor here = Tensor::zeros({1, 2}), there = here.to(device);
    CHECK(error_of([&] { step(here, 1, there); }).find("step: one input is on cpu, another on") == 0);
  }
}

TEST_CASE("the projection of a far point is on the sphere, not merely inside") {
  const Tensor x = Tensor::full({1, 1, 1, 4}, 0.5, DType::float64);
  const Tensor far = Tensor::of<double>({0.9, 0.9, 0.9, 0.9}, {1, 1, 1, 4});
  CHECK(distances(x, project(far, x, {Norm::l2, 0.3})).l2.data<double>()[0] ==
        doctest::Approx(0.3).epsilon(1e-12));
  CHECK(distances(x, project(far, x, {Norm::linf, 0.3})).linf.data<double>()[0] ==
        doctest::Approx(0.3).epsilon(1e-12));
}

TEST_CASE("tiny gradients keep their direction") {
  const Tensor g = Tensor::of<double>({3e-200, 4e-200, 0, 0}, {1, 1, 1, 4});
  const std::vector<double> unit = steepest(g, Norm::l2).to_vector<double>();
  CHECK(unit[0] == doctest::Approx(0.6));
  CHECK(unit[1] == doctest::Approx(0.8));
  const Tensor denormal = Tensor::of<float>({3e-45F, -4e-45F}, {1, 1, 1, 2});
  CHECK(steepest(denormal, Norm::linf).to_vector<float>() == std::vector<float>{1, -1});
}

TEST_CASE("a row's result does not depend on neighbours, order, batch size or threads") {
  const int64_t n = 17;
  for (const char* rate : {"", "@1/4"}) {
    const Model model = small_net(DType::float32, rate);
    const Tensor x = images(n, model.input_shape());
    AttackInput input{x, own_labels(model, x), {}, {}};
    input.y.data<int64_t>()[3] = (input.y.data<int64_t>()[3] + 1) % 5;  // one is wrong from the start
    for (int64_t i = 0; i < n; ++i) input.samples.push_back(100 + i);
    std::vector<int64_t> reversed;
    for (int64_t i = n; i-- > 0;) reversed.push_back(i);
    for (const auto& attack : sample_attacks()) {
      CAPTURE(attack->repr());
      const AttackResult whole = attack->run(model, input);
      const AttackResult parts = attack->run(model, input, {.batch = 7});
      const AttackResult backwards = attack->run(model, gather(input, reversed));
      const int before = threads();
      set_threads(before == 1 ? 2 : 1);
      const AttackResult other_threads = attack->run(model, input);
      set_threads(before);
      for (int64_t i = 0; i < n; ++i) {
        CHECK(same_row(whole, i, parts, i));
        CHECK(same_row(whole, i, backwards, n - 1 - i));
        CHECK(same_row(whole, i, other_threads, i));
      }
      for (const int64_t i : {int64_t{3}, n - 1})
        CHECK(same_row(whole, i, attack->run(model, gather(input, {i})), 0));
    }
  }
}

TEST_CASE(
    "a row's result on a randomised model does not depend on neighbours, order, batch size or threads") {
  const int64_t n = 9;
  Model model = small_net();
  gradient_inhibition_3(model, 1, Redraw::forward, "last:2");
  const OracleOptions options{.draws = {.count = 3, .judge = 5}};
  OracleOptions pieces = options;
  pieces.batch = 4;
  const Tensor x = images(n, model.input_shape());
  AttackInput input{x, classes(Oracle::judge(model, options).predict(x)), {}, {}};
  for (int64_t i = 0; i < n; ++i) input.samples.push_back(100 + i);
  std::vector<int64_t> reversed;
  for (int64_t i = n; i-- > 0;) reversed.push_back(i);
  for (const auto& attack : sample_attacks()) {
    CAPTURE(attack->repr());
    const AttackResult whole = attack->run(model, input, options);
    const AttackResult parts = attack->run(model, input, pieces);
    const int before = threads();
    set_threads(before == 1 ? 2 : 1);
    const AttackResult backwards = attack->run(model, gather(input, reversed), options);
    set_threads(before);
    for (int64_t i = 0; i < n; ++i) {
      CHECK(same_row(whole, i, parts, i));
      CHECK(same_row(whole, i, backwards, n - 1 - i));
    }
    CHECK(same_row(whole, 2, attack->run(model, gather(input, {2}), options), 0));
  }
}

TEST_CASE("attacks succeed where they should and their books agree with the images") {
  const Model model = small_net(DType::float64);
  const Tensor x = images(33, model.input_shape(), DType::float64);
  const Tensor y = own_labels(model, x),
               targets = choose_targets(TargetRule::runner_up, Oracle(model).logits(x), y);
  for (const AttackInput& input : {AttackInput{x, y, {}, {}}, AttackInput{x, y, targets, {}}}) {
    for (const auto& attack : sample_attacks()) {
      CAPTURE(attack->repr());
      CAPTURE(input.targets.defined());
      const AttackResult r = attack->run(model, input);
      const std::vector<int64_t> predictions = Oracle(model).predict(r.x_adv);
      int64_t successes = 0;
      for (int64_t i = 0; i < 33; ++i) {
        const bool reached = input.goal().reached(i, predictions[static_cast<size_t>(i)]);
        CHECK(reached == (r.success.data<uint8_t>()[i] == 1));
        CHECK(reached == (r.first_success.data<int64_t>()[i] >= 1));
        CHECK(reached == (status_of(r, i) == Status::ok));
        CHECK(r.forwards.data<int64_t>()[i] >= 1);
        successes += reached;
      }
      CHECK(successes > 0);
    }
  }
}

TEST_CASE("a model is its own surrogate: no attack with gradients can tell") {
  const Model model = small_net(DType::float64);
  const Tensor x = images(5, model.input_shape(), DType::float64);
  const AttackInput input{x, own_labels(model, x), {}, {}};
  for (const auto& attack : sample_attacks()) {
    if (!attack->uses_gradients()) continue;
    CAPTURE(attack->repr());
    const AttackResult own = attack->run(model, input),
                       behind = attack->run(model, input, {.surrogate = &model});
    for (int64_t i = 0; i < 5; ++i) CHECK(same_row(own, i, behind, i));
  }
}

TEST_CASE("an attack that leaves ball or box, or claims what is not so, is caught") {
  const Model model = two_classes();
  const AttackInput input = one_image({0.5, 0.25, 0.5}, 0);
  CHECK(error_of([&] { Broken(0.11).run(model, input); }).find("broken left the ball: row 0") == 0);
  CHECK(error_of([&] { Broken(0.6).run(model, input); }).find("broken left the box: pixel 1.1") == 0);
  CHECK(error_of([&] { Broken(NAN).run(model, input); }).find("broken left the box: pixel nan") == 0);
  const AttackResult lie = Broken(0.0625).run(model, input);  // moves along a line that changes nothing
  CHECK(lie.success.data<uint8_t>()[0] == 0);
  CHECK(lie.first_success.data<int64_t>()[0] == -1);
  CHECK(status_of(lie, 0) == Status::max_iter);
}

TEST_CASE("a logit that overflows ends its row as nan, its neighbours go on") {
  const Model model = linear_model({1e308, 1e308, 0, 0, 0, 1}, {0, 0}, DType::float64);
  const AttackInput input{Tensor::of<double>({1, 1, 0, 0, 0, 0.5}, {2, 1, 1, 3}), classes({0, 1}), {}, {}};
  const AttackResult r = Pgd({.eps = 0.1, .iters = 2, .random_start = false}).run(model, input);
  CHECK(status_of(r, 0) == Status::nan);
  CHECK(r.success.data<uint8_t>()[0] == 0);
  CHECK(identical(r.x_adv.slice(0, 0, 1).contiguous(), input.x.slice(0, 0, 1).contiguous()));
  CHECK(status_of(r, 1) == Status::ok);
}

TEST_CASE("logits without an answer are none to everybody who asks") {
  const float inf = INFINITY;
  for (const Device device : all_devices()) {
    const Tensor z = Tensor::of<float>(
        {1, 2, 2, 0, NAN, 9, 0, inf, 1, NAN, inf, 0, -inf, 0, -1, -inf, -inf, -inf}, {6, 3});
    CHECK(predictions_of(z.to(device)) == std::vector<int64_t>{1, -1, -1, -1, 1, -1});
    CHECK(readings_of({z.to(device), {}, {}}).predictions == predictions_of(z));
  }
  // The first class's logit overflows on the first two images.
  const Model model = linear_model({1e308, 1e308, 0, 0}, {0, 1}, DType::float64);
  const Tensor x = Tensor::of<double>({1, 1, 1, 1, 0, 0}, {3, 1, 1, 2}), y = classes({0, 1, 1});
  CHECK(Oracle::judge(model).predict(x) == std::vector<int64_t>{-1, -1, 1});
  const Score score = evaluate(model, {"overflows", x, y, 2, {}});
  CHECK(score.correct == 1);
  CHECK(score.nan == 2);
  for (const std::string attack :
       {"fgsm:eps=0.1", "fgsm:eps=0.1,loss=margin", "pgd:eps=0.1,iters=2,no-random-start",
        "cw-l2:iters=2,c-steps=1", "deepfool:iters=2", "random-noise:eps=0.01,draws=2"}) {
    CAPTURE(attack);
    const AttackResult r = make_attack(attack)->run(model, {x, y});
    for (const int64_t row : {0, 1}) {
      CHECK(status_of(r, row) == Status::nan);
      CHECK(r.success.data<uint8_t>()[row] == 0);
    }
    const Transfer transfer = apply_to(model, {x, y}, r);
    CHECK(transfer.rates.clean_wrong.hits == 2);
    CHECK(transfer.rates.broken.trials == 1);
  }
}

TEST_CASE("no rows in, no rows out") {
  const Model model = small_net();
  const AttackInput none{Tensor::zeros({0, 1, 6, 6}), Tensor::zeros({0}, DType::int64), {}, {}};
  for (const auto& attack : sample_attacks())
    CHECK(attack->run(model, none).x_adv.shape() == Shape{0, 1, 6, 6});
}

TEST_CASE("what cannot be attacked is refused with one line") {
  Model model = two_classes();
  const Fgsm fgsm({.eps = 0.1});
  const AttackInput good = one_image({0.5, 0.25, 0.5}, 0);
  const auto error = [&](const AttackInput& input) { return error_of([&] { fgsm.run(model, input); }); };
  CHECK(error(one_image({0.5, 1.5, 0.5}, 0)) == "fgsm: pixel 1.5 of row 0 is not in [0,1]");
  CHECK(error(one_image({0.5, NAN, 0.5}, 0)) == "fgsm: pixel nan of row 0 is not in [0,1]");
  CHECK(error(one_image({0.5, 0.25, 0.5}, 2)) == "fgsm: label 2 of row 0 is not in [0, 2)");
  CHECK(error(one_image({0.5, 0.25, 0.5}, -1)) == "fgsm: label -1 of row 0 is not in [0, 2)");
  CHECK(error(one_image({0.5, 0.25}, 0)).find("fgsm: images of shape [1,1,1,2], the model takes [N,1,1,3]") ==
        0);
  CHECK(error(one_image({0.5, 0.25, 0.5}, 0, DType::float32)) ==
        "fgsm: images are float32, the model computes in float64");
  AttackInput bad = good;
  bad.targets = classes({0});
  CHECK(error(bad) == "fgsm: target of row 0 is its label 0");
  bad.targets = classes({7});
  CHECK(error(bad) == "fgsm: target 7 of row 0 is not in [0, 2)");
  bad.targets = classes({1, 1});
  CHECK(error(bad).find("fgsm: targets of int64 [2]") == 0);
  bad = good;
  bad.samples = {1, 2};
  CHECK(error(bad) == "fgsm: 2 sample numbers for 1 rows");
  bad = good;
  bad.y = Tensor();
  CHECK(error(bad) == "fgsm: labels are undefined, int64 [1] expected");
  model.parameter("1.weight").value().data<double>()[2] = std::numeric_limits<double>::quiet_NaN();
  CHECK(error(good) == "fgsm: weights 1.weight of the model are not all finite");
  const Model single = linear_model({1, 2, 3}, {0});
  CHECK(error_of([&] {
          fgsm.run(single, one_image({0, 0, 0}, 0));
        }) == "fgsm: a model with 1 classes has nothing to be mistaken for");
}

TEST_CASE("options out of range are refused by name") {
  CHECK(error_of([] { Fgsm({.eps = -0.1}); }) == "fgsm: eps = -0.1, a number in [0, 1e30] expected");
  CHECK(error_of([] { Fgm({.eps = NAN}); }) == "fgm: eps = nan, a number in [0, 1e30] expected");
  CHECK(error_of([] { Pgd({.eps = INFINITY}); }) == "pgd: eps = inf, a number in [0, 1e30] expected");
  CHECK(error_of([] { Pgd({.iters = 0}); }).find("pgd: iters = 0") == 0);
  CHECK(error_of([] { Pgd({.restarts = 0}); }).find("pgd: restarts = 0") == 0);
  CHECK(error_of([] { Pgd({.restarts = 2, .random_start = false}); }).find("pgd: 2 restarts") == 0);
  CHECK(error_of([] { Pgd({.step = -1}); }).find("pgd: step = -1") == 0);
  for (const char* name :
       {"", "cee", "logit", "logit:", "logit:-1", "logit:1x", "ce:1", "prob:99999999999999999999"})
    CHECK(error_of([&] { const Loss loss(name); }).find("is none of ce, ce-exact, margin, dlr") !=
          std::string::npos);
  CHECK(error_of([] {
          Fgsm({.loss = "logit:1"}).run(two_classes(), one_image({0.5, 0.25, 0.5}, 0));
        }).find("logit:1 is not a goal of an attack") != std::string::npos);
}

TEST_CASE("repr is the call that builds the attack") {
  CHECK(Fgsm({.eps = 0.3, .loss = "ce-exact"}).repr() ==
        "Fgsm({.eps = 0.3, .loss = \"ce-exact\", .own_prediction = false})");
  CHECK(Fgm({}).repr() ==
        "Fgm({.norm = Norm::l2, .eps = 1, .normalise = true, .loss = \"ce\", .own_prediction = false})");
  CHECK(Pgd({.eps = 0.4, .iters = 10, .seed = 3}).repr() ==
        "Pgd({.norm = Norm::linf, .eps = 0.4, .step = 0.1, .iters = 10, .restarts = 1, .sparsity = 0.01, "
        ".random_start = true, .early_stop = true, .loss = \"ce\", .seed = 3})");
  CHECK(Jsma({}).repr() ==
        "Jsma({.rule = Jsma::Rule::pair, .on = Outputs::probs, .theta = 1, .gamma = 0.1, .once = false, "
        ".full = 1, .round_up = false})");
}

TEST_CASE("a step that reaches the goal is kept although its loss is lower than before") {
  // z = (0, 2.04 x - 1.03, -0.01 - 36 max(0, x - 0.55)): at 0.5 all but equal, so the loss is log 3; at 0.75
  // class 1 wins by 0.5 and class 2 is out, so it is log(1 + e^0.5) = 0.974.
  Model model("1x1x1 flatten fc2 relu fc3", {.dtype = DType::float64, .init = Init::zeros});
  model.parameter("1.weight").value().copy_from(Tensor::of<double>({1, 1}, {2, 1}));
  model.parameter("1.bias").value().copy_from(Tensor::of<double>({0, -0.55}, {2}));
  model.parameter("3.weight").value().copy_from(Tensor::of<double>({0, 0, 2.04, 0, 0, -36}, {3, 2}));
  model.parameter("3.bias").value().copy_from(Tensor::of<double>({0, -1.03, -0.01}, {3}));
  for (const char* spec :
       {"bim:eps=0.25,step=0.25,iters=1", "mim:eps=0.25,step=0.25,iters=1", "ifgsm:eps=0.25,iters=1"}) {
    CAPTURE(spec);
    const AttackResult r = make_attack(spec)->run(model, one_image({0.5}, 0));
    CHECK(r.x_adv.data<double>()[0] == 0.75);
    CHECK(r.first_success.data<int64_t>()[0] == 1);
  }
}

TEST_CASE("pgd: what is found after a restart counts the steps of all starts") {
  // No gradient of a linear model is zero, so no start ends early: each step is one pass, and so is the clean
  // image, which is no step.
  const Model model("1x6x6 flatten fc5", {.dtype = DType::float64, .seed = 3});
  const Tensor x = images(60, model.input_shape(), DType::float64);
  const AttackResult r = Pgd({.eps = 0.1, .step = 0.02, .iters = 2, .restarts = 8})
                             .run(model, {x, own_labels(model, x), {}, {}});
  int64_t later = 0;
  for (int64_t i = 0; i < 60; ++i) {
    const int64_t steps = r.first_success.data<int64_t>()[i];
    if (steps < 0) continue;
    CHECK(r.forwards.data<int64_t>()[i] == steps + 1);
    later += steps > 3;
  }
  CHECK(later > 0);
}

TEST_CASE("random starts fill an l2 ball evenly: their mean distance is eps n / (n + 1)") {
  constexpr int64_t rows = 2000;
  std::vector<int64_t> samples(rows);
  std::iota(samples.begin(), samples.end(), 0);
  const Tensor centre = Tensor::full({rows, 1, 1, 3}, 0.5, DType::float64);
  const Distances far = distances(centre, random_start(centre, {Norm::l2, 0.4}, 5, samples, 0));
  double sum = 0;
  for (const double v : far.l2.to_vector<double>()) sum += v;
  CHECK(sum / rows == doctest::Approx(0.4 * 3 / 4).epsilon(0.02));
}

TEST_CASE("bim: where nothing succeeds the largest loss is kept, be it below zero") {
  // The margin, -(2 x_0 - 3 x_1 + 10), is -8.25 at best.
  const AttackResult r = Pgd({.eps = 0.25, .step = 0.25, .iters = 1, .random_start = false, .loss = "margin"})
                             .run(two_classes(DType::float64, 10), one_image({0.5, 0.5, 0.5}, 0));
  CHECK(r.x_adv.to_vector<double>() == std::vector<double>{0.25, 0.75, 0.5});
}
