// HopSkipJump against a plain implementation for one image, closed forms, and the defects of other
// implementations.
#include <cmath>
#include <doctest/doctest.h>

#include "attacks/hop_skip_jump.h"
#include "core/random.h"
#include "tests/attack_models.h"

namespace hashgrad {
namespace {

using testing::error_of;

/// z_0 - z_1 = w x - b on 40 features, and an image of class 0 in the middle of the box.
struct Plane {
  std::vector<double> w;
  double b = 0, l1 = 0, l2 = 0;
  Model model;
  AttackInput input;

  explicit Plane(DType dtype = DType::float64, double gap = 0.5)
      : w(40), model(testing::linear_model(std::vector<double>(80), {0, 0}, dtype)) {
    Random random(3, Stream::test);
    Tensor weight = Tensor::zeros({2, 40}, DType::float64);
    for (size_t j = 0; j < 40; ++j) {
      w[j] = random.normal(), b += w[j] / 2, l1 += std::abs(w[j]), l2 += w[j] * w[j];
      weight.data<double>()[j] = w[j];
    }
    l2 = std::sqrt(l2), b -= gap;
    model.parameter("1.weight").value().copy_from(weight);
    model.parameter("1.bias").value().copy_from(Tensor::of<double>({0, b}, {2}));
    input = {Tensor::full({1, 1, 1, 40}, 0.5, dtype), testing::classes({0}), {}, {}};
  }
};

/// The published algorithm for one image on the plane; element type float64.
std::vector<double> by_hand(const Plane& plane, Norm norm, int64_t iters, int64_t probes) {
  using Image = std::vector<double>;
  const bool linf = norm == Norm::linf;
  const double d = 40, theta = linf ? 1 / (d * d) : 1 / (d * std::sqrt(d));
  const Image clean(40, 0.5);
  const auto adversarial = [&](const Image& x) {
    return predictions_of(plane.model.logits(Tensor::of(x, {1, 1, 1, 40})))[0] != 0;
  };
  const auto length = [&](const Image& x) {
    double sum = 0, most = 0;
    for (size_t j = 0; j < 40; ++j)
      sum += std::pow(x[j] - 0.5, 2), most = std::max(most, std::abs(x[j] - 0.5));
    return linf ? most : std::sqrt(sum);
  };
  const auto clipped = [](double v) { return std::min(1.0, std::max(0.0, v)); };
  double far = 0;
  const auto to_boundary = [&](const Image& x) {
    far = length(x);
    const auto at = [&](double share) {
      Image y(40);
      for (size_t j = 0; j < 40; ++j) {
        const double change = x[j] - clean[j];
        y[j] = clean[j] + (linf ? std::min(share * far, std::max(-share * far, change)) : share * change);
      }
      return y;
    };
    double low = 0, high = 1;
    while (high - low > (linf ? std::min(theta, theta / far) : theta)) {
      const double middle = (low + high) / 2;
      (adversarial(at(middle)) ? high : low) = middle;
    }
    return at(high);
  };

  Image x(40);
  for (uint32_t draw = 0;; ++draw) {
    Random random(9, Stream::attack, 0, draw);
    for (double& v : x) v = static_cast<double>(random.uniform());
    if (adversarial(x)) break;
  }
  x = to_boundary(x);
  Image best = x;
  for (int64_t t = 1; t <= iters; ++t) {
    const double radius = t == 1 ? 0.1 : (linf ? d : std::sqrt(d)) * theta * far;
    const int64_t n = static_cast<int64_t>(static_cast<double>(probes) * std::sqrt(static_cast<double>(t)));
    std::vector<Image> moves;
    std::vector<double> votes;
    for (int64_t k = 0; k < n; ++k) {
      Random random(9, Stream::attack, 0, static_cast<uint32_t>(t * (1 << 14) + k));
      Image u(40), y(40);
      double sum = 0;
      for (double& v : u) v = linf ? 2 * random.uniform_double() - 1 : random.normal(), sum += v * v;
      for (size_t j = 0; j < 40; ++j) y[j] = clipped(x[j] + radius / std::sqrt(sum) * u[j]);
      votes.push_back(adversarial(y) ? 1 : -1);
      for (size_t j = 0; j < 40; ++j) y[j] = (y[j] - x[j]) / radius;
      moves.push_back(y);
    }
    double mean = 0;
    for (const double vote : votes) mean += vote / static_cast<double>(n);
    Image direction(40, 0.0);
    double size = 0;
    for (size_t j = 0; j < 40; ++j) {
      for (size_t k = 0; k < moves.size(); ++k)
        direction[j] += (votes[k] - (std::abs(mean) > 0.999999 ? 0 : mean)) * moves[k][j];
      size += direction[j] * direction[j];
    }
    for (double& v : direction) v = linf ? (v > 0) - (v < 0) : v / std::sqrt(size);
    Image next(40);
    for (double step = length(x) / std::sqrt(static_cast<double>(t));; step /= 2) {
      for (size_t j = 0; j < 40; ++j) next[j] = clipped(x[j] + step * direction[j]);
      if (adversarial(next)) break;
    }
    x = to_boundary(next);
    if (length(x) < length(best)) best = x;
  }
  return best;
}

/// The same image, and class 0 in so small a ball around it that no probe stays there.
Plane needle() {
  Plane plane;
  plane.model = Model("1x1x40 flatten fc80 relu fc2", {.dtype = DType::float64, .init = Init::zeros});
  Tensor inside = plane.model.parameter("1.weight").value(), bias = plane.model.parameter("1.bias").value();
  for (int64_t j = 0; j < 40; ++j)
    for (const int64_t side : {0, 1}) {  // max(0, x - 0.5), max(0, 0.5 - x)
      inside.data<double>()[(40 * side + j) * 40 + j] = side == 0 ? 1 : -1;
      bias.data<double>()[40 * side + j] = side == 0 ? -0.5 : 0.5;
    }
  Tensor(plane.model.parameter("3.weight").value()).slice(0, 1, 2).fill(1);
  plane.model.parameter("3.bias").value().copy_from(Tensor::of<double>({0.02, 0}, {2}));
  return plane;
}

TEST_CASE("hop-skip-jump takes the steps of the published algorithm") {
  for (const auto& [plane, norm] :
       {std::pair{Plane(), Norm::l2}, {Plane(), Norm::linf}, {needle(), Norm::l2}}) {
    CAPTURE(name_of(norm));
    const AttackResult r =
        HopSkipJump({.norm = norm, .iters = 4, .probes = 20, .seed = 9}).run(plane.model, plane.input);
    const std::vector<double> expected = by_hand(plane, norm, 4, 20), got = r.x_adv.to_vector<double>();
    for (size_t j = 0; j < 40; ++j) CHECK(got[j] == doctest::Approx(expected[j]).epsilon(1e-12));
  }
}

TEST_CASE(
    "hop-skip-jump finds the distance to a hyperplane, targeted and untargeted, in both element types") {
  for (const DType dtype : {DType::float32, DType::float64}) {
    Plane plane(dtype);
    for (const bool targeted : {false, true}) {
      if (targeted) plane.input.targets = testing::classes({1});
      const AttackResult l2 = HopSkipJump({.iters = 15}).run(plane.model, plane.input);
      CHECK(l2.l2.data<double>()[0] >= 0.5 / plane.l2 * (1 - 1e-5));
      CHECK(l2.l2.data<double>()[0] == doctest::Approx(0.5 / plane.l2).epsilon(0.05));
      const AttackResult linf = HopSkipJump({.norm = Norm::linf, .iters = 15}).run(plane.model, plane.input);
      CHECK(linf.linf.data<double>()[0] >= 0.5 / plane.l1 * (1 - 1e-5));
      CHECK(linf.linf.data<double>()[0] == doctest::Approx(0.5 / plane.l1).epsilon(0.15));
    }
  }
}

TEST_CASE("hop-skip-jump never gets worse with more steps") {
  const Plane plane;
  double before = INFINITY;
  for (const int64_t iters : {1, 2, 4, 8}) {
    const double now =
        HopSkipJump({.iters = iters, .probes = 30}).run(plane.model, plane.input).l2.data<double>()[0];
    CHECK(now <= before);
    before = now;
  }
}

TEST_CASE("hop-skip-jump: Foolbox divides directions by the norm of the whole batch; here rows stand alone") {
  // The neighbour is a thousand times nearer to the boundary, so that its direction has another scale.
  const Plane plane;
  AttackInput both{Tensor::full({2, 1, 1, 40}, 0.5, DType::float64), testing::classes({0, 0}), {}, {0, 1}};
  for (size_t j = 0; j < 40; ++j)
    both.x.data<double>()[40 + j] -= 0.4995 * plane.w[j] / (plane.l2 * plane.l2);
  const HopSkipJump attack({.iters = 5, .probes = 20});
  CHECK(testing::same_row(attack.run(plane.model, both), 0, attack.run(plane.model, plane.input), 0));
}

TEST_CASE("hop-skip-jump: seeds that are wrong already are left alone at once, not turned into NaN") {
  const Plane plane;
  AttackInput wrong = plane.input;
  wrong.y = testing::classes({1});
  const AttackResult r = HopSkipJump({}).run(plane.model, wrong);
  CHECK(testing::status_of(r, 0) == Status::already_wrong);
  CHECK(identical(r.x_adv, wrong.x));
  CHECK(r.forwards.data<int64_t>()[0] == 1);
}

TEST_CASE("hop-skip-jump ends, with max_iter, when no starting image reaches the goal") {
  const Plane plane(DType::float64, 100);  // nothing in the box is of the other class
  const AttackResult r = HopSkipJump({.draws = 17}).run(plane.model, plane.input);
  CHECK(testing::status_of(r, 0) == Status::max_iter);
  CHECK(identical(r.x_adv, plane.input.x));
  CHECK(r.forwards.data<int64_t>()[0] == 1 + 17);
}

TEST_CASE("hop-skip-jump starts from the first given image that reaches the goal") {
  const Plane plane;
  Tensor pool = Tensor::full({3, 1, 1, 40}, 0.5, DType::float64);  // the first is of class 0
  for (const int64_t image : {1, 2})
    for (size_t j = 0; j < 40; ++j)
      pool.data<double>()[static_cast<size_t>(image * 40) + j] =
          plane.w[j] > 0 ? 0.5 - 0.1 * static_cast<double>(image) : 0.5;
  const AttackResult r = HopSkipJump({.iters = 1, .probes = 2, .starts = pool}).run(plane.model, plane.input);
  CHECK(testing::status_of(r, 0) == Status::ok);
  CHECK(r.first_success.data<int64_t>()[0] == 2);
  const AttackResult none =
      HopSkipJump({.iters = 1, .probes = 2, .starts = plane.input.x}).run(plane.model, plane.input);
  CHECK(testing::status_of(none, 0) == Status::max_iter);
  CHECK(none.forwards.data<int64_t>()[0] == 2);
  CHECK(error_of([&] {
          HopSkipJump({.starts = Tensor::zeros({1, 1, 1, 3})}).run(plane.model, plane.input);
        }).find("hop-skip-jump: starting images of shape [1,1,1,3]") == 0);
}

TEST_CASE("hop-skip-jump counts every decision it asks for") {
  // theta = 40^-1.5: 8 halvings of the way reach it, for l2.
  const Plane plane;
  const AttackResult r = HopSkipJump({.iters = 2, .probes = 20, .seed = 9}).run(plane.model, plane.input);
  const int64_t jumps =
      r.forwards.data<int64_t>()[0] - (1 + r.first_success.data<int64_t>()[0] + 8 + 20 + 8 + 28 + 8);
  CHECK(jumps >= 2);
  CHECK(jumps <= 12);
  CHECK(r.backwards.data<int64_t>()[0] == 0);
}

TEST_CASE("hop-skip-jump: options out of range are refused by name") {
  CHECK(error_of([] { HopSkipJump({.iters = 0}); }).find("hop-skip-jump: iters = 0") == 0);
  CHECK(error_of([] { HopSkipJump({.probes = 1}); }).find("hop-skip-jump: probes = 1") == 0);
  CHECK(error_of([] { HopSkipJump({.probes = 30, .most_probes = 20}); }).find("hop-skip-jump: probes = 30") ==
        0);
  CHECK(error_of([] { HopSkipJump({.draws = 100'000}); }).find("hop-skip-jump: draws = 100000") == 0);
}

TEST_CASE("hop-skip-jump returns the nearest of its points, not the last") {
  const Plane plane;
  int64_t kept = 0;
  for (uint64_t seed = 0; seed < 4; ++seed) {  // two probes say little of a normal: many jumps lead astray
    double before = INFINITY;
    for (int64_t iters = 1; iters <= 8; ++iters) {
      const double now = HopSkipJump({.iters = iters, .probes = 2, .most_probes = 2, .seed = seed})
                             .run(plane.model, plane.input)
                             .l2.data<double>()[0];
      CHECK(now <= before);
      kept += now == before;
      before = now;
    }
  }
  CHECK(kept > 0);
}

TEST_CASE("hop-skip-jump counts the starting images that were in vain") {
  const Plane plane;
  Tensor pool = Tensor::full({2, 1, 1, 40}, 0.5, DType::float64);  // the clean image, then one of class 1
  for (size_t j = 0; j < 40; ++j) pool.data<double>()[40 + j] = plane.w[j] > 0 ? 0 : 1;
  const auto forwards = [&](const Tensor& starts) {
    return HopSkipJump({.iters = 1, .probes = 2, .starts = starts})
        .run(plane.model, plane.input)
        .forwards.data<int64_t>()[0];
  };
  CHECK(forwards(pool) == forwards(pool.slice(0, 1, 2).contiguous()) + 1);
}

}  // namespace
}  // namespace hashgrad
