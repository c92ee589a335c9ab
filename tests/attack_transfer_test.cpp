// One model attacked by way of another: surrogates (BPDA), transfer, substitutes.
#include <cmath>
#include <doctest/doctest.h>

#include "attacks/jsma.h"
#include "attacks/pgd.h"
#include "attacks/substitute.h"
#include "attacks/transfer.h"
#include "attacks/zoo.h"
#include "nn/materialise.h"
#include "tests/attack_models.h"

namespace hashgrad {
namespace {

using testing::error_of;

/// z_0 - z_1 = scale (2 x_0 - 3 x_1).
Model two_classes(double scale, DType dtype = DType::float32) {
  return testing::linear_model({scale, -2 * scale, 0, -scale, scale, 0}, {0, 0}, dtype);
}

AttackInput one_image(const std::vector<double>& pixels, int64_t label, DType dtype = DType::float32) {
  const int64_t n = static_cast<int64_t>(pixels.size());
  return {Tensor::of(pixels, {1, 1, 1, n}).to(dtype), testing::classes({label}), {}, {}};
}

TEST_CASE("surrogate: a model without gradients is attacked along those of its stand-in") {
  const Model masked = two_classes(1000), plain = two_classes(1);
  const AttackInput input = one_image({0.5, 0.25, 0.5}, 0);
  const Pgd pgd({.eps = 0.3, .step = 0.03, .iters = 10, .random_start = false});
  CHECK(testing::status_of(pgd.run(masked, input), 0) == Status::zero_grad);
  const AttackResult r = pgd.run(masked, input, {.surrogate = &plain});
  CHECK(testing::status_of(r, 0) == Status::ok);
  CHECK(identical(r.x_adv, pgd.run(plain, input).x_adv));
  const Jsma jsma({.rule = Jsma::Rule::single, .theta = -1, .gamma = 1});
  CHECK(testing::status_of(jsma.run(masked, input), 0) == Status::zero_grad);
  CHECK(testing::status_of(jsma.run(masked, input, {.surrogate = &plain}), 0) == Status::ok);
}

TEST_CASE("surrogate: decisions, losses and labels are the model's, gradients the surrogate's") {
  const Model model = testing::small_net(DType::float64),
              other("1x6x6 flatten fc5", {.dtype = DType::float64});
  const Tensor x = testing::images(7, model.input_shape(), DType::float64);
  const Tensor y = testing::own_labels(model, x);
  const Oracle mixed(model, {.batch = 3, .surrogate = &other});
  CHECK(identical(mixed.logits(x), Oracle(model).logits(x)));
  for (const char* loss : {"ce", "margin"}) {
    const LossGradient pass = mixed.ascent(x, {y, {}}, loss), own = Oracle(model).ascent(x, {y, {}}, loss);
    CHECK(identical(pass.logits, own.logits));
    CHECK(identical(pass.value, own.value));
    CHECK(identical(pass.gradient, Oracle(other).ascent(x, {y, {}}, loss).gradient));
    // Without labels those of the model's own predictions are meant, not the surrogate's.
    CHECK(identical(mixed.gradient(x, {}, loss).gradient, Oracle(other).gradient(x, y, loss).gradient));
    CHECK(identical(mixed.gradient(x, {}, loss).value, Oracle(model).gradient(x, y, loss).value));
  }
  CHECK(identical(mixed.jacobian(x, Outputs::probs), Oracle(other).jacobian(x, Outputs::probs)));
}

TEST_CASE("surrogate: of hashed weights, wrong ones and useless ones") {
  const Model model = testing::small_net(), hashed = testing::small_net(DType::float32, "@1/4");
  const Model dense = materialise(hashed);
  const Tensor x = testing::images(5, model.input_shape());
  const AttackInput input{x, testing::own_labels(model, x), {}, {}};
  const Pgd pgd({.iters = 3});
  const AttackResult a = pgd.run(model, input, {.surrogate = &hashed}),
                     b = pgd.run(model, input, {.surrogate = &dense});
  for (int64_t row = 0; row < 5; ++row) CHECK(testing::same_row(a, row, b, row));
  const Model other("1x6x6 flatten fc4");
  CHECK_ERROR(pgd.run(model, input, {.surrogate = &other}),
              "attack: the surrogate 1x6x6 flatten fc4 cannot stand in for");
  CHECK_ERROR(Zoo({.iters = 1}).run(model, input, {.surrogate = &dense}), "zoo: asks for no gradients");
  Model broken = testing::small_net();
  broken.parameter("0.weight").value().data<float>()[0] = NAN;
  CHECK_ERROR(pgd.run(model, input, {.surrogate = &broken}), "pgd: surrogate: weights 0.weight");
}

TEST_CASE("ce-sigmoid is -log sigmoid(z_y)") {
  const Model model = two_classes(1, DType::float64);
  const AttackInput input = one_image({0.5, 0.25, 0.5}, 0, DType::float64);  // z_0 = 0, z_1 = -0.25
  const LossGradient pass = Oracle(model).gradient(input.x, testing::classes({1}), "ce-sigmoid");
  CHECK(pass.value.item() == doctest::Approx(std::log(1 + std::exp(0.25))).epsilon(1e-14));
  const double slope = -1 / (1 + std::exp(-0.25));
  const std::vector<double> g = pass.gradient.to_vector<double>();
  CHECK(g[0] == doctest::Approx(slope * -1).epsilon(1e-14));
  CHECK(g[1] == doctest::Approx(slope * 1).epsilon(1e-14));
  CHECK(g[2] == 0);
}

TEST_CASE("transfer counts what crafted images do to another model") {
  // Class 0 while x_0 <= 0.5, and while x_1 <= 0.5.
  const Model by_first = testing::linear_model({-1, 0, 1, 0}, {0.5, -0.5});
  const Model by_second = testing::linear_model({0, -1, 0, 1}, {0.5, -0.5});
  const AttackInput input{Tensor::of<double>({.2, .2, .2, .2, .2, .9, .2, .2}, {4, 1, 1, 2}),
                          testing::classes({0, 0, 0, 1}),
                          {},
                          {}};
  AttackResult crafted;
  crafted.x_adv = Tensor::of<double>({.9, .2, .9, .9, .9, .9, .2, .2}, {4, 1, 1, 2});
  crafted.success = Tensor::of<uint8_t>({1, 1, 1, 0}, {4});
  crafted.status = Tensor::full({4}, static_cast<int64_t>(Status::ok), DType::int64);
  const Transfer same = apply_to(by_first, input, crafted), other = apply_to(by_second, input, crafted);
  CHECK(same.reached.hits == 4);
  CHECK(same.rates.broken.hits == 3);
  CHECK(same.rates.broken.trials == 3);
  CHECK(same.transferred.hits == 3);
  CHECK(other.reached.hits == 3);  // rows 1, 2 and 3
  CHECK(other.rates.broken.hits == 1);
  CHECK(other.rates.broken.trials == 2);  // row 2 is wrong before, row 3 too
  CHECK(other.transferred.hits == 1);     // row 1, of rows 0 and 1
  CHECK(other.transferred.trials == 2);
  crafted.status.data<int64_t>()[1] = static_cast<int64_t>(Status::already_wrong);
  CHECK(apply_to(by_second, input, crafted).transferred.trials == 1);
  crafted.status.data<int64_t>()[1] = static_cast<int64_t>(Status::ok);
  AttackInput targeted{input.x, testing::classes({0, 0, 0, 0}), testing::classes({1, 1, 1, 1}), {}};
  CHECK(apply_to(by_second, targeted, crafted).reached.hits == 2);
}

TEST_CASE("substitute: augmentation steps along the probability of the label, inside the box") {
  const Model model = two_classes(1, DType::float64);
  const Tensor x = Tensor::of<double>({.5, .25, .5, .95, .98, 0}, {2, 1, 1, 3});
  const std::vector<double> made = augment(model, x, testing::classes({0, 1}), 0.1).to_vector<double>();
  const double expected[] = {.6, .15, .5, .85, 1, 0};  // d p_0 ~ (2, -3, 0), d p_1 the opposite
  for (size_t i = 0; i < 6; ++i) CHECK(made[i] == doctest::Approx(expected[i]).epsilon(1e-14));
}

TEST_CASE("substitute: learns from the victim's answers, doubles its images, counts its questions") {
  const Model victim("1x6x6 norm(0.5;0.25) flatten fc5nb", {.seed = 3});  // its answers are of all classes
  const Tensor seeds = testing::images(12, victim.input_shape()),
               others = testing::images(200, victim.input_shape(), DType::float32, 2);
  const auto trained = [&](SubstituteOptions options) {
    Model substitute("1x6x6 flatten fc32 relu fc5", {.seed = 1});
    options.training.epochs = 20, options.training.batch = 16, options.training.lr = 3e-3;
    CHECK(train_substitute(Oracle(victim), substitute, seeds, options) == 12 << (options.rounds - 1));
    return substitute;
  };
  const auto agreed = [&](const Model& substitute) {
    const std::vector<int64_t> a = Oracle(victim).predict(others), b = Oracle(substitute).predict(others);
    int64_t same = 0;
    for (size_t i = 0; i < a.size(); ++i) same += a[i] == b[i];
    return same;
  };
  std::vector<int64_t> sizes;
  SubstituteOptions options{.rounds = 4};
  options.progress = [&](int64_t, int64_t images, int64_t agreed_there) {
    sizes.push_back(images);
    CHECK(agreed_there > images / 2);
  };
  const Model more = trained(options), again = trained({.rounds = 4}), less = trained({.rounds = 1});
  CHECK(sizes == std::vector<int64_t>{12, 24, 48, 96});
  CHECK(agreed(more) > agreed(less));
  CHECK(identical(more.logits(others), again.logits(others)));  // the same seed, the same bits
}

TEST_CASE("substitute: new images are a step ahead, then, every `flip` rounds, a step back") {
  const Model victim("1x6x6 norm(0.5;0.25) flatten fc5nb", {.seed = 3});
  const Tensor seeds = testing::images(3, victim.input_shape());
  SubstituteOptions options{.rounds = 4, .flip = 2};
  options.training.epochs = 1;
  Model substitute("1x6x6 flatten fc5", {.seed = 1}), by_hand = substitute.clone();
  train_substitute(Oracle(victim), substitute, seeds, options);
  const auto labels = [&](const Tensor& x) { return testing::own_labels(victim, x); };
  Dataset known{"substitute", seeds, labels(seeds), 5, {}};
  for (const double step : {0.0, 0.1, 0.1, -0.1}) {
    if (step != 0) {
      const Tensor fresh = augment(by_hand, known.images, known.labels, step);
      Tensor both = Tensor::empty(seeds.shape().without(0).with(0, 2 * known.size()), DType::float32);
      both.slice(0, 0, known.size()).copy_from(known.images);
      both.slice(0, known.size(), 2 * known.size()).copy_from(fresh);
      known.images = both, known.labels = labels(both);
    }
    train(by_hand, known, options.training);
    ++options.training.seed;
  }
  for (const auto& [name, tensor] : by_hand.state()) CHECK(identical(tensor, substitute.state().at(name)));
}

TEST_CASE("substitute: what cannot be trained is refused by name") {
  const Model victim = testing::small_net();
  const Tensor seeds = testing::images(4, victim.input_shape());
  Model good("1x6x6 flatten fc5"), bad("1x6x6 flatten fc4");
  const auto error = [&](Model& substitute, const Tensor& x, const SubstituteOptions& options) {
    return error_of([&] { train_substitute(Oracle(victim), substitute, x, options); });
  };
  CHECK(error(good, seeds, {.rounds = 0}).find("substitute: rounds = 0") == 0);
  CHECK(error(good, seeds, {.lambda = 0}).find("substitute: lambda = 0") == 0);
  CHECK(error(good, seeds, {.flip = -1}).find("substitute: flip = -1") == 0);
  CHECK(error(good, {}, {}) == "substitute: no images to begin with");
  CHECK(error(good, Tensor::zeros({1, 1, 3, 3}), {}).find("substitute: images of shape [1,1,3,3]") == 0);
  CHECK(error(bad, seeds, {}).find("substitute: 1x6x6 flatten fc4 cannot stand in for 1x6x6") == 0);
}

}  // namespace
}  // namespace hashgrad
