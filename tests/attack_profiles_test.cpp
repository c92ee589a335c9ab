// The rules and defaults of other libraries (`--compat`) in fgsm, fgm, bim, pgd and mim: each rule by a step
// that was derived by hand, each table by its rows.
#include <algorithm>
#include <cmath>
#include <doctest/doctest.h>
#include <numeric>

#include "attacks/fgm.h"
#include "attacks/fgsm.h"
#include "attacks/mim.h"
#include "attacks/pgd.h"
#include "tests/attack_models.h"

using namespace hashgrad;
using namespace hashgrad::testing;

namespace {

using Row = std::vector<double>;

/// z_0 - z_1 = scale (2 x_0 - 3 x_1) + lead: every loss of class 0 grows along (-2, 3, 0).
Model two_classes(double lead = 0, double scale = 1) {
  return linear_model({scale, -2 * scale, 0, -scale, scale, 0}, {lead, 0});
}

/// What the attack of this spec makes of one image of class 0.
Row made(const std::string& spec, const Model& model, const Row& pixels) {
  const AttackInput input{Tensor::of(pixels, {1, 1, 1, 3}), classes({0}), {}, {}};
  return make_attack(spec)->run(model, input).x_adv.to_vector<double>();
}

void check_row(const Row& row, const Row& expected) {
  for (size_t i = 0; i < expected.size(); ++i) CHECK(row[i] == doctest::Approx(expected[i]).epsilon(1e-9));
}

const Row grey{0.5, 0.25, 0.5};
const double root = std::sqrt(13);  // of 2^2 + 3^2

}  // namespace

TEST_CASE("profiles: CleverHans 2.0 puts every iterate of bim on the sphere, 2.1 lets it stay inside") {
  const Model model = two_classes();
  for (const char* iters : {"1", "2"})
    check_row(made(fmt::format("bim:compat=ch20,norm=l2,eps=0.25,step=0.05,iters={}", iters), model, grey),
              {0.5 - 0.25 * 2 / root, 0.25 + 0.25 * 3 / root, 0.5});
  check_row(made("bim:compat=ch21,norm=l2,eps=0.25,step=0.05,iters=2", model, grey),
            {0.5 - 0.1 * 2 / root, 0.25 + 0.1 * 3 / root, 0.5});
  // l1: along g / norm1(g), all of it. Two steps of 0.4 make 0.8, of which the sphere, or the ball, leave
  // 0.5.
  check_row(made("bim:compat=ch20,norm=l1,eps=0.5,step=0.05,iters=1", model, grey), {0.3, 0.55, 0.5});
  check_row(made("bim:compat=ch21,norm=l1,eps=0.5,step=0.05,iters=1", model, grey), {0.48, 0.28, 0.5});
  check_row(made("bim:compat=ch21,norm=l1,eps=0.5,step=0.4,iters=2", model, grey), {0.3, 0.55, 0.5});
  check_row(made("bim:norm=l1,eps=0.5,step=0.4,iters=2,no-early-stop", model, grey), {0.5, 0.75, 0.5});
}

TEST_CASE(
    "profiles: the sphere of CleverHans 2.0 leaves the box on the way, and the image returned does not") {
  // The box cuts the first step to (-0.1 / root, 0.02); the second one starts from 7 times that, out of the
  // box.
  const Model model = two_classes(3);
  const Row x{0.5, 0.98, 0.5};
  const double first = 0.1 / root, stretch = 0.25 / std::sqrt(first * first + 0.02 * 0.02);
  REQUIRE(0.98 + 0.02 * stretch > 1);
  check_row(made("bim:compat=ch20,norm=l2,eps=0.25,step=0.05,iters=1", model, x),
            {0.5 - first * stretch, 1, 0.5});
  const double second = first * stretch + first, again = 0.25 / std::sqrt(second * second + 0.02 * 0.02);
  check_row(made("bim:compat=ch20,norm=l2,eps=0.25,step=0.05,iters=2", model, x),
            {0.5 - second * again, 1, 0.5});
}

TEST_CASE("profiles: box first or ball first is not the same where the box cuts") {
  const Model model = two_classes(3);
  const Row x{0.5, 0.98, 0.5};
  const Row box{0.5 - 0.25 * 2 / root, 1, 0.5};  // 0.14 from x, in the ball
  const Row ball{0.5 - 0.2 * 2 / root, 1, 0.5};  // shortened from 0.25 to 0.2 before the box cuts
  const std::string budget = "norm=l2,eps=0.2,step=0.25,iters=1";
  for (const char* library : {"ch21", "ch31", "advertorch"})
    check_row(made(fmt::format("bim:compat={},{}", library, budget), model, x), box);
  check_row(made("pgd:compat=art," + budget, model, x), box);
  check_row(made("bim:compat=foolbox3," + budget, model, x), ball);
  check_row(made("pgd:compat=ta35,no-random-start," + budget, model, x), ball);
}

TEST_CASE(
    "profiles: pgd of CleverHans 2.1 steps along signs in every norm, from a cube that may leave the box") {
  const Model model = two_classes();
  const std::string rest = ",step=0.1,no-random-start";
  check_row(made("pgd:compat=ch21,norm=l2,eps=1,iters=1" + rest, model, grey), {0.4, 0.35, 0.5});
  const double cut = 0.2 / std::sqrt(2);
  check_row(made("pgd:compat=ch21,norm=l2,eps=0.2,iters=2" + rest, model, grey),
            {0.5 - cut, 0.25 + cut, 0.5});
  check_row(made("pgd:compat=ch21,norm=l1,eps=0.3,iters=2" + rest, model, grey), {0.35, 0.4, 0.5});

  const Tensor black = Tensor::zeros({40, 1, 1, 3}, DType::float64);
  std::vector<int64_t> samples;
  for (int64_t i = 0; i < 40; ++i) samples.push_back(i);
  for (const Norm norm : {Norm::linf, Norm::l2, Norm::l1}) {
    const Threat ball{norm, 0.3};
    const Tensor start = start_by({.cube_start = true}, black, ball, 5, samples, 0);
    const Row length = in_norm(distances(black, start), norm).to_vector<double>();
    const Row pixels = start.to_vector<double>();
    CHECK(*std::max_element(length.begin(), length.end()) <= 0.3 * (1 + 1e-12));
    CHECK(std::count_if(pixels.begin(), pixels.end(), [](double v) { return v < 0; }) > 30);
    CHECK(identical(start_by({}, black, ball, 5, samples, 0), random_start(black, ball, 5, samples, 0)));
    const AttackResult r = make_attack(fmt::format("pgd:compat=ch21,norm={},iters=1", name_of(norm)), 5)
                               ->run(model, {black, classes(std::vector<int64_t>(40, 0)), {}, {}});
    CHECK(r.x_adv.size(0) == 40);  // the box holds, or verify() had refused it
  }
}

TEST_CASE("profiles: the L1 step is one pixel in ART, shared by equals in CleverHans 3.1, dense elsewhere") {
  const Model even = linear_model({1.5, -1.5, 0, -1.5, 1.5, 0}, {3, 0});  // along (-3, 3, 0)
  check_row(made("fgm:compat=ch31,norm=l1,eps=0.5", even, grey), {0.25, 0.5, 0.5});
  check_row(made("fgm:compat=art,norm=l1,eps=0.5", even, grey), {0, 0.25, 0.5});
  check_row(made("mim:compat=art,norm=l1,eps=0.5,step=0.3,iters=1", even, grey), {0.2, 0.25, 0.5});
  const Tensor g =
      Tensor::of<double>({-3, 3, 0, 1, -2, 1}, {2, 1, 1, 3});  // project() would mend a step too long
  CHECK(along(g, Norm::l1, {.step = StepRule::tied}).to_vector<double>() == Row{-0.5, 0.5, 0, 0, -1, 0});
  const Model odd = two_classes(3);
  check_row(made("fgm:compat=ch31,norm=l1,eps=0.5", odd, grey), {0.5, 0.75, 0.5});
  check_row(made("fgm:compat=ch21,norm=l1,eps=0.5", odd, grey), {0.3, 0.55, 0.5});
  check_row(made("pgd:compat=art,norm=l1,eps=1,step=0.25,iters=2", odd, grey), {0.5, 0.75, 0.5});
  check_row(made("pgd:compat=foolbox3,norm=l1,eps=0.5,step=0.4,iters=2,no-random-start", odd, grey),
            {0.3, 0.55, 0.5});
}

TEST_CASE("profiles: mim shortens its L1 perturbation as a whole in CleverHans 2.1 and Foolbox") {
  const Model model = two_classes(3);
  const std::string budget = "norm=l1,eps=0.5,step=0.4,iters=2";
  for (const char* library : {"ch21", "foolbox3"})
    check_row(made(fmt::format("mim:compat={},{}", library, budget), model, grey), {0.3, 0.55, 0.5});
  check_row(made("mim:no-early-stop," + budget, model, grey), {0.33, 0.58, 0.5});  // 0.15 off each way
}

TEST_CASE("profiles: a gradient below the floor makes a short step, and here a full one") {
  const Model faint = two_classes(1, 1e-7);  // of the margin: 1e-7 (-2, 3, 0)
  const Row full{0.5 - 0.25 * 2 / root, 0.25 + 0.25 * 3 / root, 0.5}, shortened{0.45, 0.325, 0.5};
  for (const char* library : {"ch31", "advertorch"}) {
    check_row(made(fmt::format("fgm:compat={},eps=0.25,loss=margin", library), faint, grey), shortened);
    check_row(
        made(fmt::format("bim:compat={},norm=l2,eps=1,step=0.25,iters=1,loss=margin", library), faint, grey),
        shortened);
  }
  for (const char* library : {"ch21", "foolbox3", "art"})
    check_row(made(fmt::format("fgm:compat={},eps=0.25,loss=margin", library), faint, grey), full);
  check_row(made("fgm:eps=0.25,loss=margin", faint, grey), full);
}

TEST_CASE("profiles: defaults of the libraries, all steps and the last iterate; settings given come first") {
  const auto bim = [](Pgd::Options o) {
    o.random_start = o.early_stop = false;
    return Pgd(o).repr();
  };
  const auto pgd = [](Pgd::Options o) {
    o.early_stop = false;
    return Pgd(o).repr();
  };
  const auto mim = [](Mim::Options o) {
    o.early_stop = false;
    return Mim(o).repr();
  };
  const auto repr = [](const char* spec) { return make_attack(spec)->repr(); };
  CHECK(repr("bim:compat=ch21") == bim({.eps = 0.3, .step = 0.05, .iters = 10}));
  CHECK(repr("bim:compat=foolbox3") == bim({.eps = 0.3, .step = 0.06, .iters = 10}));
  CHECK(repr("bim:compat=art") == bim({.eps = 0.3, .step = 0.1, .iters = 100}));
  CHECK(repr("bim:compat=ta35") == bim({.eps = 8.0 / 255, .step = 2.0 / 255, .iters = 10}));
  CHECK(repr("bim:compat=advertorch,iters=7") == bim({.eps = 0.1, .step = 0.05, .iters = 7}));
  CHECK(repr("pgd:compat=ch31") == pgd({.eps = 0.3, .step = 0.05, .iters = 10}));
  CHECK(repr("pgd:compat=foolbox3") == pgd({.eps = 0.3, .step = 0.01, .iters = 40}));
  CHECK(repr("pgd:compat=foolbox3,norm=l2,eps=2") ==
        pgd({.norm = Norm::l2, .eps = 2, .step = 0.05, .iters = 50, .rules = {.floor = 1e-12}}));
  CHECK(repr("pgd:compat=art") == pgd({.eps = 0.3, .step = 0.1, .iters = 100, .random_start = false}));
  CHECK(repr("pgd:compat=art,restarts=3") == pgd({.eps = 0.3, .step = 0.1, .iters = 100, .restarts = 3}));
  CHECK(repr("pgd:compat=ta35,norm=l2") == pgd({.norm = Norm::l2, .eps = 1, .step = 0.2, .iters = 10}));
  CHECK(repr("pgd:compat=advertorch") == pgd({.eps = 0.3, .step = 0.01, .iters = 40}));
  CHECK(repr("mim:compat=ch21,eps=0.1") == mim({.eps = 0.1, .step = 0.06, .rules = {}}));
  CHECK(repr("mim:compat=ta35") == mim({.eps = 8.0 / 255, .step = 2.0 / 255, .rules = {}}));
  CHECK(repr("mim:compat=advertorch") == mim({.eps = 0.3, .step = 0.01, .iters = 40, .rules = {}}));
  CHECK(repr("fgm:compat=ch20") == Fgm({.eps = 0.3}).repr());
  CHECK(repr("fgsm:compat=ta35") == Fgsm({.eps = 8.0 / 255}).repr());
  CHECK(repr("fgsm:compat=ch20") == Fgsm({.eps = 0.3}).repr());
}

TEST_CASE("profiles: what a library does not have is refused by name") {
  const auto error = [](const char* spec) { return error_of([&] { make_attack(spec); }); };
  CHECK(error("bim:compat=ch31,norm=l1") == "bim: has no norm l1 in ch31");
  CHECK(error("mim:compat=ch31,norm=l1") == "mim: has no norm l1 in ch31");
  CHECK(error("mim:compat=ta35,norm=l2") == "mim: has no norm l2 in ta35");
  CHECK(error("fgm:compat=advertorch,norm=l1") == "fgm: has no norm l1 in advertorch");
  CHECK(error("pgd:compat=ch20") ==
        "pgd: compat is 'ch20'; accepted: none, ch21, ch31, foolbox3, art, ta35, advertorch");
}

TEST_CASE("profiles: a start from the cube is shortened to the ball where it is longer, never lengthened") {
  std::vector<int64_t> samples(50);
  std::iota(samples.begin(), samples.end(), 0);
  const Tensor centre = Tensor::full({50, 1, 1, 2}, 0.5, DType::float64);
  const Tensor cube = ball_point(centre, {Norm::linf, 0.2}, 3, samples, 0);
  const Tensor start = start_by({.cube_start = true}, centre, {Norm::l2, 0.2}, 3, samples, 0);
  const Row far = distances(centre, cube).l2.to_vector<double>(),
            length = distances(centre, start).l2.to_vector<double>();
  int64_t inside = 0;
  for (size_t i = 0; i < 50; ++i) {
    CHECK(length[i] == doctest::Approx(std::min(far[i], 0.2)).epsilon(1e-9));
    inside += far[i] < 0.2;
  }
  CHECK(inside > 25);  // pi / 4 of the square
  CHECK(inside < 50);
}
