// The norms that add up or count pixels, L1 and L0: their projections, starts and steps, and the attacks and
// reports within them.
#include <algorithm>
#include <cmath>
#include <doctest/doctest.h>
#include <numeric>

#include "attacks/apgd.h"
#include "attacks/autoattack.h"
#include "attacks/checks/evaluation.h"
#include "attacks/deepfool.h"
#include "attacks/fab.h"
#include "attacks/fgm.h"
#include "attacks/hop_skip_jump.h"
#include "attacks/mim.h"
#include "attacks/pgd.h"
#include "attacks/random_noise.h"
#include "cpu/attack_step_sparse.h"
#include "tests/attack_models.h"
#include "tests/engines_testing.h"

using namespace hashgrad;
using namespace hashgrad::testing;

namespace {

using Row = std::vector<double>;

double l1_of(const Row& a, const Row& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::abs(a[i] - b[i]);
  return sum;
}

double square_of(const Row& a, const Row& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return sum;
}

Row projected(Norm norm, const Row& x, const Row& centre, double eps) {
  Row out(x.size());
  const int64_t n = static_cast<int64_t>(x.size());
  (norm == Norm::l1 ? cpu::project_l1<double> : cpu::project_l0<double>)(1, n, eps, x.data(), centre.data(),
                                                                         out.data());
  return out;
}

/// The L1 projection by bisection on what is taken off every way.
Row plain_projection(const Row& x, const Row& centre, double eps) {
  double low = 0, high = 1e3;
  const auto at = [&](double t) {
    Row z;
    for (size_t i = 0; i < x.size(); ++i) {
      const double way = x[i] - centre[i], room = way > 0 ? 1 - centre[i] : centre[i];
      z.push_back(centre[i] + std::copysign(std::min(std::max(std::abs(way) - t, 0.0), room), way));
    }
    return z;
  };
  if (l1_of(at(0), centre) <= eps) return at(0);
  for (int step = 0; step < 100; ++step) {
    const double t = (low + high) / 2;
    (l1_of(at(t), centre) > eps ? low : high) = t;
  }
  return at(high);
}

Row random_row(Random& random, size_t n, double spread) {
  Row row;
  for (size_t i = 0; i < n; ++i) row.push_back(0.5 + spread * (2 * random.uniform_double() - 1));
  return row;
}

AttackInput one_image(const Row& pixels, int64_t label) {
  return {Tensor::of(pixels, {1, 1, 1, static_cast<int64_t>(pixels.size())}), classes({label}), {}, {}};
}

/// z_0 - z_1 = 2 x_0 - 3 x_1 + lead: the loss of class 0 grows along (-2, 3, 0).
Model two_classes(double lead = 0) { return linear_model({1, -2, 0, -1, 1, 0}, {lead, 0}); }

AttackInput some_rows(const Model& model, int64_t n) {
  const Tensor x = images(n, {1, 6, 6}, DType::float64);
  std::vector<int64_t> samples(static_cast<size_t>(n));
  std::iota(samples.begin(), samples.end(), 0);
  return {x, own_labels(model, x), {}, samples};
}

}  // namespace

TEST_CASE("l1 projection: optimal in ball and box, by its conditions, and as bisection finds it") {
  Random random(5, Stream::test);
  int64_t at_the_box = 0, at_zero = 0;
  for (int trial = 0; trial < 300; ++trial) {
    const size_t n = 1 + static_cast<size_t>(random.below(40));
    Row centre = random_row(random, n, 0.7);
    for (double& c : centre) c = std::min(std::max(c, 0.0), 1.0);
    const Row x = random_row(random, n, 2);
    const double eps = static_cast<double>(n) * 0.5 * random.uniform_double();
    const Row z = projected(Norm::l1, x, centre, eps), plain = plain_projection(x, centre, eps);
    REQUIRE(l1_of(z, plain) < 1e-11);
    double off = -1;  // what was taken off the elements that are free to move
    for (size_t i = 0; i < n; ++i)
      if (z[i] != centre[i] && z[i] > 0 && z[i] < 1) {
        const double own = std::abs(x[i] - z[i]);
        REQUIRE((off < 0 || std::abs(own - off) < 1e-12));
        off = own;
      }
    for (size_t i = 0; i < n && off > 0; ++i) {
      const double way = std::abs(x[i] - centre[i]), moved = std::abs(z[i] - centre[i]);
      const double room = x[i] > centre[i] ? 1 - centre[i] : centre[i];
      const bool stayed = moved == 0 && room > 0, full = moved > 0 && (z[i] == 0 || z[i] == 1);
      if (stayed) REQUIRE(way <= off + 1e-12);
      if (full) REQUIRE(way - moved >= off - 1e-12);
      at_zero += stayed, at_the_box += full;
      REQUIRE((x[i] - centre[i]) * (z[i] - centre[i]) >= 0);
    }
    if (off > 1e-12) REQUIRE(l1_of(z, centre) >= eps * (1 - 1e-12));
  }
  CHECK(at_the_box > 100);
  CHECK(at_zero > 100);
  CHECK(projected(Norm::l1, {1, 0.75}, {0.5, 0.5}, 0.25) ==
        Row{0.75, 0.5});  // no less than eps where it can be
}

TEST_CASE("l1 and l0 projections: no point of a dense grid in ball and box is nearer") {
  Random random(6, Stream::test);
  constexpr int steps = 24;
  for (int trial = 0; trial < 12; ++trial)
    for (const Norm norm : {Norm::l1, Norm::l0}) {
      Row centre(3);
      for (double& c : centre) c = random.below(steps + 1) / static_cast<double>(steps);
      const Row x = random_row(random, 3, 1.5);
      const double eps = norm == Norm::l1 ? 0.8 * random.uniform_double() : 1 + trial % 3;
      const Row z = projected(norm, x, centre, eps);
      double nearest = 1e9;
      for (int i = 0; i <= steps; ++i)
        for (int j = 0; j <= steps; ++j)
          for (int k = 0; k <= steps; ++k) {
            const Row p{i / 24.0, j / 24.0, k / 24.0};
            const double changed =
                static_cast<double>((p[0] != centre[0]) + (p[1] != centre[1]) + (p[2] != centre[2]));
            if ((norm == Norm::l1 ? l1_of(p, centre) : changed) <= eps)
              nearest = std::min(nearest, square_of(p, x));
          }
      CHECK(square_of(z, x) <= nearest + 1e-12);
      if (norm == Norm::l1) CHECK(l1_of(z, centre) <= eps);
    }
}

TEST_CASE("l1 and l0: budget and box hold to the last bit, and steps are what they are made of") {
  for (const DType dtype : {DType::float32, DType::float64})
    for (const Norm norm : {Norm::l1, Norm::l0})
      for (const double eps : {0.0, 1e-3, 0.3, 3.0, 7.0, 1e30}) {
        CAPTURE(eps);
        const Threat ball{norm, eps};
        const Tensor x = images(65, {1, 5, 7}, dtype), away = images(65, {1, 5, 7}, dtype, 2);
        const Tensor gradient = step(x, -1, away), far = step(x, 7.3, steepest(gradient, norm));
        const std::vector<int64_t> samples(65, 4);
        CHECK(identical(ascend(x, 7.3, gradient, x, ball), project(far, x, ball)));
        for (const Tensor& p : {project(far, x, ball), project(step(x, 0.7, gradient), x, ball),
                                random_start(x, ball, 3, samples, 0)}) {
          const Distances far_off = distances(x, p);
          for (const double length : in_norm(far_off, norm).to_vector<double>()) CHECK(length <= eps);
          CHECK(identical(clip(p), p));
        }
        if (eps == 3)  // and is used up
          for (const double length :
               in_norm(distances(x, project(step(x, 3, gradient), x, ball)), norm).to_vector<double>())
            CHECK(length == doctest::Approx(3).epsilon(1e-6));
        CHECK(identical(project(x, x, ball), x));
      }
}

TEST_CASE("l1 and l0: images on an engine that lacks them are refused") {
  for (const Device device : other_devices()) {
    const Tensor x = Tensor::zeros({1, 2}).to(device);
    CHECK(error_of([&] {
            project(x, x, {Norm::l1, 1});
          }).find("project: l1 and l0 are computed on the CPU") == 0);
  }
  for (const Norm norm : {Norm::linf, Norm::l2, Norm::l1, Norm::l0})
    CHECK(Pgd({.norm = norm}).on_device() == (norm == Norm::linf || norm == Norm::l2));
}

TEST_CASE("sparse steps: ties go to the first, zeros and NaNs are never kept, sizes do not matter") {
  const Tensor g = Tensor::of<double>({2, -3, 3, 0, NAN, 1e-320, 0, -1e-320}, {2, 4});
  CHECK(steepest(g.slice(0, 0, 1).contiguous(), Norm::l1).to_vector<double>() == Row{0, -1, 0, 0});
  CHECK(sparse_signs(g, {2, 4}).to_vector<double>() == Row{0, -0.5, 0.5, 0, 0, 0.5, 0, -0.5});
  const Tensor small = Tensor::of<double>({1e-320, 0, -3e-320, 0, 0, 0, 0, 0}, {2, 4});
  const Row unit = unit_l1(small).to_vector<double>(), mean = steepest(small, Norm::l0).to_vector<double>();
  CHECK(unit[0] == doctest::Approx(0.25).epsilon(1e-3));
  CHECK(unit[2] == doctest::Approx(-0.75).epsilon(1e-3));
  CHECK(mean[2] == doctest::Approx(-3).epsilon(1e-3));
  for (size_t i = 4; i < 8; ++i) CHECK(unit[i] == 0);
  const Tensor x = Tensor::of<double>({0, 1, 0, 1}, {1, 4}),
               slope = Tensor::of<double>({-1, 1, 1, -1}, {1, 4});
  CHECK(inward(slope, x).to_vector<double>() == Row{0, 0, 1, -1});
}

TEST_CASE("starts: uniform in the l1 ball; as many pixels as l0 allows, everywhere alike") {
  constexpr int64_t rows = 4000, columns = 3;
  std::vector<int64_t> samples(rows);
  std::iota(samples.begin(), samples.end(), 0);
  const Row centre(rows * columns, 0.25);
  Row ball(rows * columns), few(rows * columns);
  cpu::start_l1(rows, columns, 2.0, 7, 1, samples.data(), centre.data(), ball.data());
  cpu::start_l0(rows, columns, 2.9, 7, 1, samples.data(), centre.data(), few.data());
  double sum = 0, squares = 0, length = 0;
  std::vector<double> changed(columns, 0);
  for (size_t row = 0; row < rows; ++row) {
    double own = 0, differ = 0;
    for (size_t i = 0; i < columns; ++i) {
      const double offset = ball[row * columns + i] - 0.25;
      sum += offset, squares += offset * offset, own += std::abs(offset);
      const bool moved = few[row * columns + i] != 0.25;
      differ += moved, changed[i] += moved;
    }
    REQUIRE(own <= 2 * (1 + 1e-12));
    REQUIRE(differ == 2);
    length += own;
  }
  CHECK(std::abs(sum / (rows * columns)) < 0.02);
  CHECK(length / rows == doctest::Approx(2 * 3.0 / 4).epsilon(0.01));  // E = eps n / (n + 1)
  CHECK(squares / (rows * columns) ==
        doctest::Approx(4 * 2.0 / (4 * 5)).epsilon(0.05));  // 2 eps^2 / ((n+1)(n+2))
  for (const double c : changed) CHECK(c / rows == doctest::Approx(2.0 / 3).epsilon(0.05));
}

TEST_CASE("fgm and mim step along gradient / ||gradient||_1, bim along the largest elements in the box") {
  const AttackInput input = one_image({0.5, 0.25, 0.5}, 0);
  for (const Tensor& x :
       {Fgm({.norm = Norm::l1, .eps = 0.5}).run(two_classes(), input).x_adv,
        Mim({.norm = Norm::l1, .eps = 0.5, .step = 0.5, .iters = 1}).run(two_classes(), input).x_adv}) {
    CHECK(x.data<double>()[0] == doctest::Approx(0.5 - 0.5 * 2 / 5));
    CHECK(x.data<double>()[1] == doctest::Approx(0.25 + 0.5 * 3 / 5));
    CHECK(x.data<double>()[2] == 0.5);
  }
  Pgd::Options bim{
      .norm = Norm::l1, .eps = 1, .step = 0.125, .iters = 4, .sparsity = 0, .random_start = false};
  const AttackResult r = Pgd(bim).run(two_classes(), input);
  CHECK(r.x_adv.to_vector<double>() == Row{0.5, 0.375, 0.5});
  CHECK(r.first_success.data<int64_t>()[0] == 1);
  // Out of reach: the pixel that helps most until it is white, then the next one, then none.
  bim.step = 0.25, bim.early_stop = false;
  CHECK(Pgd(bim).run(two_classes(10), one_image({0.5, 0.75, 0.5}, 0)).x_adv.to_vector<double>() ==
        Row{0, 1, 0.5});
  // A step of 1.5 cannot be made by one pixel: two share it.
  bim.eps = 2, bim.step = 1.5, bim.iters = 1;
  CHECK(Pgd(bim).run(two_classes(10), one_image({0.875, 0.125, 0.5}, 0)).x_adv.to_vector<double>() ==
        Row{0.125, 0.875, 0.5});
}

TEST_CASE("bim in l0 keeps the largest changes") {
  const AttackResult r = Pgd({.norm = Norm::l0, .eps = 1, .step = 0.25, .iters = 1, .random_start = false})
                             .run(two_classes(), one_image({0.5, 0.25, 0.5}, 0));
  CHECK(r.x_adv.data<double>()[0] == 0.5);
  CHECK(r.x_adv.data<double>()[1] == doctest::Approx(0.25 + 0.25 * 3 / (5.0 / 3)));
}

namespace {

/// l1-APGD on cross-entropy, of one image, from `x`: the last misclassified iterate, or the best one.
Row plain_apgd_l1(const Model& model, const AttackInput& input, Row x, double eps, size_t iters) {
  const Row x0 = input.x.to_vector<double>();
  const size_t n = x.size();
  Row best, best_g, fooled;
  const auto changed = [&](const Row& at) {
    double count = 0;
    for (size_t i = 0; i < n; ++i) count += std::abs(at[i] - x0[i]) > 1e-10;
    return count;
  };
  const size_t wide = iters * 30 / 100;
  for (const auto& [factor, steps] :
       {std::pair{3.0, wide}, std::pair{2.0, wide}, std::pair{1.0, iters - 2 * wide}}) {
    const double radius = factor * eps;
    if (factor < 3) x = plain_projection(best, x0, radius);
    Row g;
    double best_loss = 0;
    const auto look = [&](bool first) {
      const LossGradient p = Oracle(model).ascent(Tensor::of(x, input.x.shape()), input.goal(), "ce");
      g = p.gradient.to_vector<double>();
      const double loss = p.value.data<double>()[0];
      if (first || loss > best_loss) best_loss = loss, best = x, best_g = g;
      if (factor == 1 && predictions_of(p.logits)[0] != input.y.data<int64_t>()[0]) fooled = x;
    };
    look(true);
    double before = factor == 3 ? static_cast<double>(n) : changed(x), step = radius;
    double top = factor == 3 ? 0.2 * static_cast<double>(n) : before / 1.5;
    const size_t window = std::max<size_t>(steps * 4 / 100, 1);
    for (size_t k = 1; k <= steps; ++k) {
      Row sizes;
      for (const double v : g) sizes.push_back(std::abs(v));
      std::sort(sizes.rbegin(), sizes.rend());
      const size_t count = std::max<size_t>(static_cast<size_t>(std::ceil(top - 1e-9)), 1);
      const auto chosen = [&](double v) { return v != 0 && std::abs(v) >= sizes[count - 1]; };
      const double kept = static_cast<double>(std::count_if(g.begin(), g.end(), chosen));
      for (size_t i = 0; i < n; ++i)
        if (chosen(g[i])) x[i] += std::copysign(step / kept, g[i]);
      x = plain_projection(x, x0, radius);
      look(false);
      if (k % window != 0) continue;
      const double now = changed(best);
      if (now / before < 0.95)
        step = radius, x = best, g = best_g;
      else
        step = std::max(step / 1.5, radius / 10);
      before = now, top = now / 1.5;
    }
  }
  return fooled.empty() ? best : fooled;
}

}  // namespace

TEST_CASE("apgd in l1 takes the published steps, in three shrinking balls") {
  CHECK(apgd_l1_checkpoints(30).size() == 30);
  CHECK(apgd_l1_checkpoints(100) == std::vector<int64_t>{4,  8,  12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52,
                                                         56, 60, 64, 68, 72, 76, 80, 84, 88, 92, 96, 100});
  const Model model = small_net(DType::float64);
  const AttackInput input = some_rows(model, 12);
  int64_t broken = 0, full = 0;
  for (const double eps :
       {0.7, 2.5}) {  // the wider ball: many pixels change, and a few less from time to time
    const Tensor start = random_start(input.x, {Norm::l1, 3 * eps}, 4, input.samples, 0);
    const AttackResult r =
        Apgd({.norm = Norm::l1, .eps = eps, .iters = 60, .autoattack = true, .seed = 4}).run(model, input);
    for (int64_t i = 0; i < 12; ++i) {
      const Row plain =
          plain_apgd_l1(model, gather(input, {i}), start.slice(0, i, i + 1).to_vector<double>(), eps, 60);
      CHECK(l1_of(plain, r.x_adv.slice(0, i, i + 1).to_vector<double>()) < 1e-8);
      full += r.forwards.data<int64_t>()[i] == 1 + 60 + 3;  // the image, the steps, the start of each stage
      broken += r.success.data<uint8_t>()[i];
    }
  }
  CHECK(broken > 0);
  CHECK(full > 0);
  CHECK(broken < 24);  // both ends of the search are compared
}

TEST_CASE("apgd in l1 breaks what pgd breaks, with the same budget") {
  const Model model = small_net(DType::float64);
  const AttackInput input = some_rows(model, 60);
  const auto broken = [&](const Attack& attack) { return count(succeeded(attack.run(model, input))); };
  const int64_t pgd = broken(Pgd({.norm = Norm::l1, .eps = 0.7, .iters = 40})),
                apgd = broken(Apgd({.norm = Norm::l1, .eps = 0.7, .iters = 40}));
  CHECK(pgd > 5);
  CHECK(apgd >= pgd);
  CHECK(apgd < 60);
  // A few steps leave no room for the wide balls, and are an attack all the same.
  for (const int64_t iters : {1, 2, 3, 4})
    CHECK(status_of(Apgd({.norm = Norm::l1, .eps = 0, .iters = iters}).run(model, input), 0) ==
          Status::max_iter);
}

TEST_CASE("fab in l1 finds the distance |f| / max |w| of linear models") {
  Random random(8, Stream::test);
  for (int trial = 0; trial < 20; ++trial) {
    Row w(8), pixels(8);
    double gap = 0, largest = 0;
    for (size_t i = 0; i < 8; ++i) {
      w[i] = random.normal(), pixels[i] = 0.4 + 0.2 * random.uniform_double();
      gap += w[i] * pixels[i], largest = std::max(largest, std::abs(w[i]));
    }
    const double lead = 0.3 * largest * random.uniform_double();  // within 0.3 of one pixel
    Row both = w;
    both.resize(16, 0);
    const Model model = linear_model(both, {lead - gap, 0});
    const AttackResult r = Fab({.norm = Norm::l1, .iters = 10}).run(model, one_image(pixels, 0));
    CHECK(r.l1.data<double>()[0] >= lead / largest * (1 - 1e-9));
    CHECK(r.l1.data<double>()[0] <= lead / largest * 1.001 + 1e-9);
    CHECK(r.l0.data<double>()[0] == 1);
  }
}

TEST_CASE("autoattack in l1: five starts of apgd-ce, five targets of apgd-t") {
  const AutoAttack attack({.norm = Norm::l1, .eps = 3});
  std::string all;
  for (const auto& member : attack.members()) all += member->name() + " ";
  CHECK(all == "apgd-ce apgd-t fab-t square ");
  CHECK(attack.members()[0]->repr() == Apgd({.norm = Norm::l1, .eps = 3, .restarts = 5}).repr());
  CHECK(attack.members()[1]->repr() ==
        Apgd({.norm = Norm::l1, .eps = 3, .loss = "dlr", .targets = 5}).repr());
}

TEST_CASE("reports in l1 and l0: a plain network is broken without a warning") {
  const Model model = small_net();
  const Tensor x = images(10, model.input_shape());
  const AttackInput input{x, own_labels(model, x), {}, {}};
  for (const Threat& threat : {Threat{Norm::l1, 4}, Threat{Norm::l0, 6}}) {
    Evidence evidence(model, input, threat);
    const Evaluation e = evaluate_robustness(evidence);
    CAPTURE(e.reason);
    CHECK(e.verdict == Verdict::passed);
    CHECK(e.robust.hits < 4);
    CHECK(e.curve.back().standard.hits == 10);
    for (const CurvePoint& point : e.curve) CHECK(point.best.hits >= point.standard.hits);
    const Distances far = distances(x, evidence.nearest());
    for (const double length : in_norm(far, threat.norm).to_vector<double>()) CHECK(length <= threat.eps);
    for (const auto& [check, finding] : e.findings)
      if (check.id == "D7" || check.id == "D10")
        CHECK((finding.verdict == Verdict::not_applicable) == (threat.norm == Norm::l0));
  }
}

TEST_CASE("reports: successes outside the budget are not counted, attacks without a ball or not") {
  const Model model = small_net();
  const Tensor x = images(20, model.input_shape());
  Evidence evidence(model, {x, own_labels(model, x), {}, {}}, {Norm::l0, 2});
  const std::string spec = "jsma:gamma=0.5";
  const Tensor& l0 = evidence.attack(spec).l0;
  const std::vector<bool> broken = evidence.broken(spec), within = evidence.within(evidence.attack(spec));
  int64_t outside = 0;
  for (size_t i = 0; i < broken.size(); ++i) {
    CHECK(within[i] == (broken[i] && l0.data<double>()[i] <= 2));
    CHECK(evidence.worst_case()[i] == within[i]);
    outside += broken[i] && !within[i];
  }
  CHECK(outside > 0);
  CHECK(count(within) > 0);
}

TEST_CASE("l1 and l0: what an attack does not have is refused by name") {
  CHECK(error_of([] { parse_norm("l3"); }) == "norm: 'l3' is none of linf, l2, l1, l0");
  CHECK(error_of([] { DeepFool({.norm = Norm::l1}); }) == "deepfool: has no norm l1");
  CHECK(error_of([] { HopSkipJump({.norm = Norm::l0}); }) == "hop-skip-jump: has no norm l0");
  CHECK(error_of([] { Apgd({.norm = Norm::l0}); }) == "apgd-ce: has no norm l0");
  CHECK(error_of([] { Fgm({.norm = Norm::linf}); }) == "fgm: has no norm linf");
  CHECK(error_of([] { Pgd({.sparsity = 2}); }).find("pgd: sparsity = 2") == 0);
  CHECK(error_of([] { RandomNoise({.rule = RandomNoise::Rule::gaussian, .norm = Norm::l0}); }) ==
        "random-noise: has no gaussian noise for l0");
  const Model model = small_net();
  const Tensor x = images(3, model.input_shape());
  CHECK(error_of([&] {
          Evidence(model, {x, own_labels(model, x), {}, {}}, {Norm::l0, 0.5});
        }) == "report: l0 counts pixels, eps = 0.5 allows none");
}

TEST_CASE("apgd in l1 counts the start of each of its three stages as a step, restart by restart") {
  const Model model("1x6x6 flatten fc5", {.dtype = DType::float64, .seed = 3});
  const AttackInput input = some_rows(model, 40);
  const AttackResult r = Apgd({.norm = Norm::l1, .eps = 1, .iters = 4, .restarts = 5}).run(model, input);
  int64_t later = 0;
  for (int64_t i = 0; i < 40; ++i) {
    const int64_t steps = r.first_success.data<int64_t>()[i];
    if (steps < 0) continue;
    CHECK(r.forwards.data<int64_t>()[i] == steps + 1);  // and the clean pass
    later += steps > 4 + 3;
  }
  CHECK(later > 0);
}
