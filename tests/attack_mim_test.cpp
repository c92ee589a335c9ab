// MI-FGSM: against a plain loop over its published rule, and the ways in which libraries got it wrong.
#include <cmath>
#include <doctest/doctest.h>

#include "attacks/mim.h"
#include "attacks/registry.h"
#include "tests/attack_models.h"

using namespace hashgrad;
using namespace hashgrad::testing;

namespace {

double sign(double v) { return static_cast<double>((v > 0) - (v < 0)); }

/// MI-FGSM for linf on one image, its momentum summing g / mean |g|, or (as Foolbox 3 has it) sign(g).
std::vector<double> plain_mim(const Model& model, const AttackInput& input, double eps, double step,
                              int iters, double decay, bool signs_first) {
  const std::vector<double> x0 = input.x.to_vector<double>();
  std::vector<double> x = x0, m(x.size());
  for (int k = 0; k < iters; ++k) {
    const Tensor at = Tensor::of(x, input.x.shape());
    const std::vector<double> g =
        Oracle(model).ascent(at, input.goal(), "ce-exact").gradient.to_vector<double>();
    double mean = 0;
    for (const double v : g) mean += std::abs(v) / static_cast<double>(g.size());
    for (size_t i = 0; i < x.size(); ++i) {
      m[i] = decay * m[i] + (signs_first ? sign(g[i]) : g[i] / mean);
      x[i] = std::min(std::max(x[i] + step * sign(m[i]), x0[i] - eps), x0[i] + eps);
      x[i] = std::min(std::max(x[i], 0.0), 1.0);
    }
  }
  return x;
}

double farthest(const std::vector<double>& a, const std::vector<double>& b) {
  double most = 0;
  for (size_t i = 0; i < a.size(); ++i) most = std::max(most, std::abs(a[i] - b[i]));
  return most;
}

}  // namespace

TEST_CASE("mim: takes the steps of the published rule, not of the sign-first variant") {
  const Model model = small_net(DType::float64);
  const Tensor x = images(6, {1, 6, 6}, DType::float64);
  const Tensor y = own_labels(model, x);
  double variants_differ = 0;
  const auto foolbox = make_attack("mim:compat=foolbox3,eps=0.1,step=0.02,iters=9,decay=0.9,loss=ce-exact");
  for (int64_t i = 0; i < 6; ++i) {
    const AttackInput one = gather(AttackInput{x, y, {}, {0, 1, 2, 3, 4, 5}}, {i});
    const Mim mim(
        {.eps = 0.1, .step = 0.02, .iters = 9, .decay = 0.9, .early_stop = false, .loss = "ce-exact"});
    const std::vector<double> ours = mim.run(model, one).x_adv.to_vector<double>();
    CHECK(farthest(ours, plain_mim(model, one, 0.1, 0.02, 9, 0.9, false)) < 1e-12);
    const std::vector<double> theirs = foolbox->run(model, one).x_adv.to_vector<double>();
    CHECK(farthest(theirs, plain_mim(model, one, 0.1, 0.02, 9, 0.9, true)) < 1e-12);
    variants_differ =
        std::max(variants_differ, farthest(ours, plain_mim(model, one, 0.1, 0.02, 9, 0.9, true)));
  }
  CHECK(variants_differ > 0.01);  // Foolbox's rule is another attack, which this test would notice
}

TEST_CASE("mim: a zero gradient stops its row and makes no NaN (torchattacks)") {
  // In float32 the cross-entropy of a row that leads by 300 has no gradient.
  const Model model = linear_model({1, -2, 0, -1, 1, 0}, {0, -300}, DType::float32);
  const Tensor x = Tensor::full({1, 1, 1, 3}, 0.5);
  const AttackResult r = Mim({.eps = 0.3}).run(model, {x, classes({0}), {}, {}});
  CHECK(identical(r.x_adv, x));
  CHECK(status_of(r, 0) == Status::zero_grad);
  CHECK(r.backwards.data<int64_t>()[0] == 1);
}

TEST_CASE("mim: pixels without gradient stay where they are in l2 (advertorch divides 0 by 0)") {
  const Model model = linear_model({1, -2, 0, -1, 1, 0}, {1, 0});
  const AttackInput input{Tensor::of<double>({0.5, 0.25, 0.5}, {1, 1, 1, 3}), classes({0}), {}, {}};
  const AttackResult r = Mim({.norm = Norm::l2, .eps = 0.25, .iters = 5}).run(model, input);
  const std::vector<double> adv = r.x_adv.to_vector<double>();
  CHECK(adv[0] == doctest::Approx(0.5 - 0.25 * 2 / std::sqrt(13)));
  CHECK(adv[1] == doctest::Approx(0.25 + 0.25 * 3 / std::sqrt(13)));
  CHECK(adv[2] == 0.5);
}

TEST_CASE("mim: gradients as small as numbers get count in full") {
  const Model model = linear_model({1e-160, -2e-160, -1e-160, 1e-160}, {1e-160, 0});
  const AttackInput input{Tensor::full({1, 1, 1, 2}, 0.5, DType::float64), classes({0}), {}, {}};
  CHECK(Mim({.eps = 0.25, .iters = 2, .loss = "margin"}).run(model, input).x_adv.to_vector<double>() ==
        std::vector<double>{0.25, 0.75});
}

TEST_CASE("mim: options out of range are refused by name") {
  CHECK(error_of([] { Mim({.eps = -1}); }).find("mim: eps = -1") == 0);
  CHECK(error_of([] { Mim({.step = -1}); }).find("mim: step = -1") == 0);
  CHECK(error_of([] { Mim({.iters = 0}); }).find("mim: iters = 0") == 0);
  CHECK(error_of([] { Mim({.decay = 1.5}); }).find("mim: decay = 1.5") == 0);
}

TEST_CASE("mim: momentum carries a row across a flat stretch") {
  // z_1 - z_0 = x - max(0, x - 0.6) + 10 max(0, x - 0.8) - 1: flat between 0.6 and 0.8, above 0 at 0.875.
  Model model("1x1x1 flatten fc3 relu fc2", {.dtype = DType::float64, .init = Init::zeros});
  model.parameter("1.weight").value().copy_from(Tensor::full({3, 1}, 1, DType::float64));
  model.parameter("1.bias").value().copy_from(Tensor::of<double>({0, -0.6, -0.8}, {3}));
  model.parameter("3.weight").value().copy_from(Tensor::of<double>({0, 0, 0, 1, -1, 10}, {2, 3}));
  model.parameter("3.bias").value().copy_from(Tensor::of<double>({0, -1}, {2}));
  const AttackInput input{Tensor::full({1, 1, 1, 1}, 0.5, DType::float64), classes({0}), {}, {}};
  const AttackResult r = Mim({.eps = 0.4, .step = 0.125, .iters = 3, .loss = "margin"}).run(model, input);
  CHECK(r.x_adv.data<double>()[0] == 0.875);
  CHECK(r.first_success.data<int64_t>()[0] == 3);
}
