#include "core/normal.h"
#include "core/random.h"
#include "cpu/attack_step.h"
#include "cpu/attack_step_functions.h"
#include "tests/cpu_testing.h"

using namespace hashgrad;
using namespace hashgrad::cpu_testing;

TEST_CASE("sign steps stay in the ball and in the box, and stand still where the gradient is zero or NaN") {
  const std::vector<double> centre{0.5, 0.5, 0.02, 0.99, 0.5, 0.5}, gradient{2, -1e-300, -1, 1, 0, NAN};
  std::vector<double> x = centre;
  for (int i = 0; i < 5; ++i)
    cpu::ascend_linf<double>(6, 0.04, 0.1, x.data(), gradient.data(), centre.data(), x.data());
  CHECK(x[0] == doctest::Approx(0.6));
  CHECK(x[1] == doctest::Approx(0.4));
  CHECK(x[2] == 0);
  CHECK(x[3] == 1);
  CHECK(x[4] == 0.5);
  CHECK(x[5] == 0.5);
}

TEST_CASE_TEMPLATE("a sign step has the bits of its definition on every instruction set", T, float, double) {
  using namespace cpu::functions;
  const double eps = 0.1;
  for (const int64_t n : {0, 1, 3, 17, 33, 129, 20000}) {
    auto centre = random_values<T>(n, 1), x = random_values<T>(n, 2), gradient = random_values<T>(n, 3);
    for (int64_t i = 0; i < n; ++i) {
      T &c = centre[static_cast<size_t>(i)], &v = x[static_cast<size_t>(i)];
      c = i % 5 == 0 ? T{0} : i % 7 == 0 ? T{1} : std::abs(c);
      v = nearest_linf(static_cast<T>(c + static_cast<T>(0.2) * v), c, eps);
      if (i % 11 == 0) gradient[static_cast<size_t>(i)] = i % 2 ? T{0} : static_cast<T>(NAN);
      if (i % 13 == 12) v = static_cast<T>(NAN);
    }
    std::vector<T> expected(x.size());
    for (size_t i = 0; i < x.size(); ++i)
      expected[i] =
          nearest_linf(stepped(x[i], static_cast<T>(0.03), direction_of(gradient[i])), centre[i], eps);
    for_each_isa([&] {
      auto y = poisoned<T>(n);
      cpu::ascend_linf<T>(n, static_cast<T>(0.03), eps, x.data(), gradient.data(), centre.data(), y.data());
      CHECK(same_bits(y, expected));
    });
  }
}

TEST_CASE_TEMPLATE("Adam in tanh space follows its definition, with the same bits on every instruction set",
                   T, float, double) {
  const double rate = 0.05, eps = 1e-8, tolerance = sizeof(T) == sizeof(float) ? 1e-5 : 1e-12;
  for (const int64_t n : {0, 1, 3, 17, 33, 129}) {
    auto gradient = random_values<T>(n, 1), w = random_values<T>(n, 2), m = random_values<T>(n, 3),
         v = random_values<T>(n, 4);
    std::vector<double> want[4];  // w, m, v, x
    for (size_t i = 0; i < w.size(); ++i) {
      w[i] *= i % 5 == 4 ? T{20} : T{3};  // pixels next to 0 and 1, too
      if (i % 7 == 0) gradient[i] = 0;
      v[i] = std::abs(v[i]) + static_cast<T>(0.01);
      const double e = std::exp(-2 * std::abs(static_cast<double>(w[i])));
      const double g = static_cast<double>(gradient[i]) * 2 * e / ((1 + e) * (1 + e));
      const double m_new = 0.9 * static_cast<double>(m[i]) + 0.1 * g;
      const double v_new = 0.999 * static_cast<double>(v[i]) + 0.001 * g * g;
      const double w_new = static_cast<double>(w[i]) - rate * m_new / (std::sqrt(v_new) + eps);
      want[0].push_back(w_new);
      want[1].push_back(m_new);
      want[2].push_back(v_new);
      want[3].push_back((std::tanh(w_new) + 1) / 2);
    }
    std::vector<std::vector<T>> first;
    for_each_isa([&] {
      std::vector<std::vector<T>> got{w, m, v, poisoned<T>(n)};
      cpu::descend_tanh(n, static_cast<T>(rate), static_cast<T>(eps), gradient.data(), got[0].data(),
                        got[1].data(), got[2].data(), got[3].data());
      if (first.empty()) first = got;
      for (size_t k = 0; k < 4; ++k) {
        CHECK(distance(got[k], want[k]) <= tolerance);
        CHECK(same_bits(got[k], first[k]));
      }
    });
  }
}

TEST_CASE("the projection onto an L2 ball keeps rows inside and shortens rows outside") {
  const std::vector<double> centre(6, 0.5), x{0.5, 0.6, 0.5, 0.9, 0.5, 0.8};
  auto y = poisoned<double>(6);
  cpu::project_l2<double>(2, 3, 0.25, x.data(), centre.data(), y.data());
  CHECK(y[1] == 0.6);
  CHECK(y[3] == doctest::Approx(0.5 + 0.25 * 0.8));
  CHECK(y[4] == 0.5);
  CHECK(y[5] == doctest::Approx(0.5 + 0.25 * 0.6));
}

TEST_CASE("unit rows have norm one however small the gradient, and zero rows stay zero") {
  const std::vector<double> g{3e-320, 0, 0, 0, 3e300, 4e300, 0, -1e-5, 0, 0, -0.0, 0};
  auto y = poisoned<double>(12);
  cpu::unit_rows<double>(4, 3, g.data(), y.data());
  for (size_t i = 9; i < 12; ++i) CHECK(y[i] == 0);
  CHECK(y[0] == 1);
  CHECK(y[3] == 0);
  CHECK(y[4] == doctest::Approx(0.6));
  CHECK(y[5] == doctest::Approx(0.8));
  CHECK(y[7] == -1);
  CHECK(std::isfinite(cpu::functions::scale_to(2.0, 0.0)));  // draws that are all zero stay so
}

TEST_CASE("the sums of long rows count every element once") {
  const int64_t n = 1000;  // not a multiple of the lanes
  const std::vector<double> x(n, 0.25), y(n, 0.5);
  double distance[4];
  cpu::distances<double>(1, n, x.data(), y.data(), distance);
  CHECK(distance[0] == 1000);
  CHECK(distance[1] == 250);
  CHECK(distance[2] == std::sqrt(62.5));
  CHECK(distance[3] == 0.25);
  for (size_t at = 0; at < 21; ++at) {  // the largest is found wherever it is
    std::vector<double> z(21, 0.5);
    z[at] = 0.25;
    cpu::distances<double>(1, 21, std::vector<double>(21, 0.5).data(), z.data(), distance);
    CHECK(distance[3] == 0.25);
  }
}

TEST_CASE("readings tell predictions, values, zero gradients and those that are no numbers") {
  const double inf = INFINITY;
  const std::vector<double> logits{1, 2, 2, 0, NAN, 9, -inf, -inf, -inf}, values{5, 6, 7};
  const std::vector<double> gradient{0, 0, 0, 1e-300, -inf, 0};
  cpu::Reading r[3];
  cpu::read_rows<double>(3, 3, 2, logits.data(), values.data(), gradient.data(), r);
  CHECK(r[0].prediction == 1);
  CHECK(r[1].prediction == -1);
  CHECK(r[2].prediction == -1);
  CHECK(r[1].value == 6);
  CHECK(r[0].zero == 1);
  CHECK(r[0].finite == 1);
  CHECK(r[1].zero == 0);
  CHECK(r[1].finite == 1);
  CHECK(r[2].zero == 0);
  CHECK(r[2].finite == 0);
  cpu::read_rows<double>(1, 0, 0, nullptr, nullptr, nullptr, r);
  CHECK(r[0].prediction == -1);
  CHECK(r[0].value == 0);
  CHECK(r[0].zero == 1);
  CHECK(r[0].finite == 1);
}

TEST_CASE("starts fill their ball: uniform in every axis, and in the share of the radius") {
  const int64_t rows = 2000, columns = 3;
  std::vector<int64_t> samples;
  for (int64_t i = 0; i < rows; ++i) samples.push_back(i);
  const std::vector<double> centre(rows * columns, 0.25), radii(rows, 2.0);
  auto cube = poisoned<double>(rows * columns), sphere = cube;
  cpu::start_linf(rows, columns, 0.5, 7, 1, samples.data(), centre.data(), cube.data());
  cpu::start_l2(rows, columns, 7, 1, samples.data(), radii.data(), centre.data(), sphere.data());
  double sum = 0, squares = 0, along = 0;
  for (size_t i = 0; i < cube.size(); ++i) {
    const double offset = cube[i] - 0.25;
    REQUIRE(std::abs(offset) <= 0.5);
    sum += offset, squares += offset * offset;
  }
  CHECK(std::abs(sum / 6000) < 0.015);
  CHECK(squares / 6000 == doctest::Approx(1.0 / 12).epsilon(0.03));
  for (size_t row = 0; row < static_cast<size_t>(rows); ++row) {
    double length = 0;
    for (size_t i = 0; i < 3; ++i) length += std::pow(sphere[row * 3 + i] - 0.25, 2);
    REQUIRE(std::sqrt(length) == doctest::Approx(2).epsilon(1e-12));
    along += std::pow(sphere[row * 3] - 0.25, 2);
  }
  CHECK(along / static_cast<double>(rows) == doctest::Approx(4.0 / 3).epsilon(0.05));
}

TEST_CASE("normal draws are those of the C library to a few units in the last place") {
  Random random(3, Stream::test);
  std::vector<double> u{0, 0.25, 0.5, 0.75, 1 - 0x1p-53, 0x1p-53, 0.125, 1 - 0.70710678118654752};
  while (u.size() < 20000) u.push_back(random.uniform_double());
  for (const double v : u) {
    const double logarithm = std::log(1 - v), cosine = std::cos(6.283185307179586477 * v);
    REQUIRE(std::abs(normal::log_of(1 - v) - logarithm) <= 1e-15 * std::abs(logarithm));
    REQUIRE(std::abs(normal::cosine_of_turns(v) - cosine) <= 1e-15);
  }
  Random draws(3, Stream::test, 5, 6);
  const Random other = draws;
  for (uint32_t i = 0; i < 9; ++i) {
    const auto w = other.block(i);
    CHECK(draws.normal() == normal_from(Random::fraction(w[0], w[1]), Random::fraction(w[2], w[3])));
  }
}
