// Square: what its proposals look like, that it only gets better, and that nothing of it needs a gradient.
#include <cmath>
#include <doctest/doctest.h>

#include "attacks/square.h"
#include "tests/attack_models.h"

using namespace hashgrad;
using namespace hashgrad::testing;

namespace {

/// Two channels of 6 x 6, grey enough that no perturbation below meets the box.
AttackInput grey(const Model& model, int64_t n) {
  Tensor x = images(n, {2, 6, 6}, DType::float64);
  for (int64_t i = 0; i < x.numel(); ++i) x.data<double>()[i] = 0.3 + 0.4 * x.data<double>()[i];
  return {x, own_labels(model, x), {}, {}};
}

Model net() { return Model("2x6x6 flatten fc16 relu fc5", {.dtype = DType::float64, .seed = 3}); }

std::vector<double> margins(const Model& model, const AttackInput& input, const Tensor& x) {
  return Oracle::objective(Oracle(model).logits(x), input.goal(), "margin").to_vector<double>();
}

}  // namespace

TEST_CASE("square: the share of the image halves where the authors halve it") {
  const auto halvings = [](int64_t step) { return std::log2(0.8 / square_share(0.8, step)); };
  CHECK(halvings(0) == 0);
  CHECK(halvings(10) == 0);
  CHECK(halvings(11) == 1);
  CHECK(halvings(51) == 2);
  CHECK(halvings(201) == 3);
  CHECK(halvings(501) == 4);
  CHECK(halvings(1001) == 5);
  CHECK(halvings(8000) == 8);
  CHECK(halvings(8001) == 9);
}

TEST_CASE("square: linf starts with stripes, and every pixel is at the edge of the ball") {
  const Model model = net();
  const AttackInput input = grey(model, 7);
  const std::vector<double> x = input.x.to_vector<double>();
  const AttackResult stripes = Square({.eps = 0.01, .iters = 1}).run(model, input);
  const std::vector<double> start = stripes.x_adv.to_vector<double>();
  for (size_t i = 0; i < x.size(); ++i)
    CHECK(std::abs(start[i] - x[i]) == doctest::Approx(0.01).epsilon(1e-9));
  for (size_t image = 0; image < 14; ++image)  // images and channels
    for (size_t i = 6; i < 36; ++i)
      CHECK((start[image * 36 + i] > x[image * 36 + i]) ==
            (start[image * 36 + i % 6] > x[image * 36 + i % 6]));
  const std::vector<double> later =
      Square({.eps = 0.01, .iters = 40}).run(model, input).x_adv.to_vector<double>();
  size_t changed = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    CHECK(std::abs(later[i] - x[i]) == doctest::Approx(0.01).epsilon(1e-9));
    changed += (later[i] > x[i]) != (start[i] > x[i]);
  }
  CHECK(changed > 0);
}

TEST_CASE("square: l2 and l1 use the whole budget") {
  const Model model = net();
  const AttackInput input = grey(model, 7);
  for (const Norm norm : {Norm::l2, Norm::l1})
    for (const int64_t iters : {1, 30}) {
      const AttackResult r = Square({.norm = norm, .eps = 0.05, .iters = iters}).run(model, input);
      for (const double length : in_norm(r, norm).to_vector<double>())
        CHECK(length == doctest::Approx(0.05).epsilon(1e-9));
    }
}

TEST_CASE("square: more steps never lose what was gained, and count one forward pass each") {
  const Model model = net();
  const AttackInput input = grey(model, 12);
  for (const Norm norm : {Norm::linf, Norm::l2, Norm::l1}) {
    const double eps = norm == Norm::linf ? 0.02 : norm == Norm::l2 ? 0.1 : 0.5;
    std::vector<double> before(12, -INFINITY);
    double gained = 0;
    for (const int64_t iters : {1, 10, 60}) {
      const AttackResult r = Square({.norm = norm, .eps = eps, .iters = iters}).run(model, input);
      const std::vector<double> now = margins(model, input, r.x_adv);
      for (size_t i = 0; i < 12; ++i) {
        const int64_t row = static_cast<int64_t>(i), steps = r.first_success.data<int64_t>()[row];
        if (before[i] < 0) CHECK(now[i] >= before[i]);
        CHECK(r.forwards.data<int64_t>()[row] == 1 + (steps < 0 ? iters : steps));
        CHECK(r.backwards.data<int64_t>()[row] == 0);
        if (iters > 1) gained += now[i] - before[i];
      }
      before = now;
    }
    CHECK(gained > 0);
  }
}

TEST_CASE("square: no gradient is needed") {
  const Model model = linear_model({4e4, 0, 0, 4e4}, {2e4, 0}, DType::float32);  // softmax saturates
  const AttackInput input{Tensor::of<float>({0.5F, 0.5F}, {1, 1, 1, 2}), classes({0}), {}, {}};
  const AttackResult r = Square({.eps = 0.3, .iters = 60}).run(model, input);
  CHECK(status_of(r, 0) == Status::ok);
  CHECK(r.x_adv.to_vector<float>()[0] == doctest::Approx(0.2));
  CHECK(r.x_adv.to_vector<float>()[1] == doctest::Approx(0.8));
}

TEST_CASE("square: images smaller than its windows are no obstacle") {
  const Model model = linear_model({1, 0}, {0.2, 0});
  const AttackInput input{Tensor::full({1, 1, 1, 1}, 0.5, DType::float64), classes({0}), {}, {}};
  for (const Norm norm : {Norm::linf, Norm::l2, Norm::l1})
    CHECK(status_of(Square({.norm = norm, .eps = 0.1, .iters = 20}).run(model, input), 0) ==
          Status::max_iter);
}

TEST_CASE("square: options out of range are refused by name") {
  CHECK(error_of([] { Square({.eps = -1}); }).find("square: eps = -1") == 0);
  CHECK(error_of([] { Square({.iters = 0}); }).find("square: iters = 0") == 0);
  CHECK(error_of([] { Square({.p = 0}); }).find("square: p = 0") == 0);
}

TEST_CASE("square: no step is taken where nothing is gained") {
  const Model flat = linear_model(std::vector<double>(2 * 72), {1, 0});
  AttackInput input{images(5, {1, 1, 72}, DType::float64), classes({0, 0, 0, 0, 0}), {}, {}};
  const AttackResult one = Square({.eps = 0.1, .iters = 1}).run(flat, input),
                     more = Square({.eps = 0.1, .iters = 9}).run(flat, input);
  CHECK(identical(one.x_adv, more.x_adv));
}

TEST_CASE("square: the stripes are no window, so that eleven windows have the first size") {
  // Of 10 x 10 pixels p = 0.25 is a window of 5 x 5, and half of it one of 4 x 4.
  const Model model("1x10x10 flatten fc2", {.dtype = DType::float64, .seed = 3});
  Tensor x = images(300, {1, 10, 10}, DType::float64);
  for (int64_t i = 0; i < x.numel(); ++i) x.data<double>()[i] = 0.3 + 0.4 * x.data<double>()[i];
  const AttackInput input{x, own_labels(model, x), {}, {}};
  const auto made = [&](int64_t iters) {
    return Square({.eps = 1e-6, .iters = iters, .p = 0.25}).run(model, input).x_adv.to_vector<double>();
  };
  const auto widest = [&](int64_t step) {  // of what this step changed, in any image
    const std::vector<double> old = made(step), now = made(step + 1);
    size_t most = 0;
    for (size_t image = 0; image < 300; ++image) {
      size_t first = 10, last = 0;
      for (size_t i = 0; i < 100; ++i)
        if (old[image * 100 + i] != now[image * 100 + i])
          first = std::min(first, i % 10), last = std::max(last, i % 10 + 1);
      if (first < last) most = std::max(most, last - first);
    }
    return most;
  };
  CHECK(widest(11) == 5);
  CHECK(widest(12) == 4);
}

TEST_CASE("square: a step moves the mass of two windows and what the box has left unused, nothing else") {
  // On 12 x 12 pixels p = 0.05 is a window of 3 x 3.
  const Model model("2x12x12 flatten fc2", {.dtype = DType::float64, .seed = 3});
  const Tensor x = images(30, model.input_shape(), DType::float64);  // many pixels black or white
  const AttackInput input{x, own_labels(model, x), {}, {}};
  const auto made = [&](int64_t iters) {
    return Square({.norm = Norm::l2, .eps = 0.05, .iters = iters, .p = 0.05})
        .run(model, input)
        .x_adv.to_vector<double>();
  };
  const std::vector<double> old = made(5), now = made(6);
  size_t moved = 0;
  for (size_t image = 0; image < 30; ++image) {
    size_t changed = 0;
    for (size_t i = image * 288; i < (image + 1) * 288; ++i) changed += std::abs(now[i] - old[i]) > 1e-9;
    CHECK(changed <= 2 * 2 * 9);  // channels, windows, pixels
    moved += changed > 0;
  }
  CHECK(moved > 0);
}

TEST_CASE("square: the first success is counted by the points that were tried") {
  const Model model = net();
  const AttackResult r = Square({.eps = 0.2, .iters = 40}).run(model, grey(model, 20));
  int64_t successes = 0;
  for (int64_t i = 0; i < 20; ++i) {
    const int64_t first = r.first_success.data<int64_t>()[i];
    if (first < 0) continue;
    CHECK(r.forwards.data<int64_t>()[i] == 1 + first);  // and the clean image
    ++successes;
  }
  CHECK(successes > 0);
}
