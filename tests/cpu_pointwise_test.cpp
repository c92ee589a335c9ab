#include <limits>

#include "cpu/exp.h"
#include "cpu/pointwise.h"
#include "cpu/reduce.h"
#include "cpu/softmax.h"
#include "tests/cpu_testing.h"

namespace {

using namespace hashgrad;
using namespace hashgrad::cpu_testing;
using cpu::Binary;
using cpu::Unary;

const Unary all_unary[] = {
#define X(name) Unary::name,
    HASHGRAD_UNARY(X)
#undef X
};

/// Distance in units in the last place of b, the smallest denormal at least.
template <class T>
double ulps(T a, long double b) {
  int exponent = 0;
  std::frexp(static_cast<T>(b), &exponent);
  const T ulp = std::max(std::ldexp(std::numeric_limits<T>::epsilon(), exponent - 1),
                         std::numeric_limits<T>::denorm_min());
  return static_cast<double>(std::abs(static_cast<long double>(a) - b) / static_cast<long double>(ulp));
}

TEST_CASE_TEMPLATE("exp is within two units in the last place, denormal results included", T, float, double) {
  const T lowest = sizeof(T) == 4 ? T(-103.9) : T(-745.1), highest = sizeof(T) == 4 ? T(88.7) : T(709.7);
  double worst = 0;
  for (int i = 0; i <= 100000; ++i) {
    const T x = lowest + (highest - lowest) * static_cast<T>(i) / 100000;
    worst = std::max(worst, ulps(cpu::exp_inline(x), std::exp(static_cast<long double>(x))));
  }
  CHECK(worst <= 2);
  CHECK(cpu::exp_inline(T{0}) == 1);
  CHECK(cpu::exp_inline(-std::numeric_limits<T>::infinity()) == 0);
  CHECK(cpu::exp_inline(std::numeric_limits<T>::infinity()) == std::numeric_limits<T>::infinity());
  CHECK(cpu::exp_inline(T{1000}) == std::numeric_limits<T>::infinity());
  CHECK(std::isnan(cpu::exp_inline(std::numeric_limits<T>::quiet_NaN())));
}

float sum_of(int64_t n, const float* x) {
  float y = std::numeric_limits<float>::quiet_NaN();
  cpu::sum(n, x, &y);
  return y;
}

TEST_CASE("every derivative agrees with a central difference") {
  for (const Unary op : all_unary) {
    CAPTURE(static_cast<int>(op));
    auto x = random_values<double>(129, 1);
    for (double& value : x) value = std::abs(value) < 0.05 ? 0.3 : value * 3;
    if (op == Unary::log || op == Unary::sqrt)
      for (double& value : x) value = std::abs(value);
    const auto dy = random_values<double>(129, 2);
    auto y = poisoned<double>(129), dx = y, up = y, down = y, x_up = x, x_down = x;
    const double h = 1e-5;
    for (size_t i = 0; i < x.size(); ++i) {
      x_up[i] += h;
      x_down[i] -= h;
    }
    cpu::unary(op, 129, x.data(), y.data());
    cpu::unary(op, 129, x_up.data(), up.data());
    cpu::unary(op, 129, x_down.data(), down.data());
    cpu::unary_backward(op, 129, x.data(), y.data(), dy.data(), dx.data());
    for (size_t i = 0; i < x.size(); ++i) {
      const double slope = (up[i] - down[i]) / (2 * h);
      if (std::abs(slope) > 100) continue;  // a step was crossed, or 1/x near 0
      CHECK(dx[i] == doctest::Approx(slope * dy[i]).epsilon(1e-5));
    }
  }
}

TEST_CASE("a NaN that comes in comes out, and special values are those of mathematics") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const Unary op : all_unary) {
    float y = 0;
    cpu::unary(op, 1, &nan, &y);
    CAPTURE(static_cast<int>(op));
    CHECK(std::isnan(y));
  }
  const auto value = [](Unary op, float x) {
    float y = 0;
    cpu::unary(op, 1, &x, &y);
    return y;
  };
  CHECK(value(Unary::sign, 0.0f) == 0);
  CHECK(value(Unary::sign, -3.0f) == -1);
  CHECK(value(Unary::relu, -1.0f) == 0);
  CHECK(value(Unary::leaky_relu, -1.0f) == -0.01f);
  CHECK(value(Unary::gelu, 1.0f) == doctest::Approx(0.8413447f));
  CHECK(value(Unary::softplus, 200.0f) == 200);
  CHECK(value(Unary::sigmoid, -100.0f) == doctest::Approx(3.7835e-44f).epsilon(0.03));
  CHECK(value(Unary::round, 2.5f) == 2);
  CHECK(value(Unary::exp, -100.0f) == doctest::Approx(3.7835e-44f).epsilon(0.03));
}

TEST_CASE("binary operations broadcast scalars, rows and columns") {
  const int64_t outer = 17, inner = 33;
  const auto a = random_values<double>(outer * inner, 1), b = random_values<double>(outer * inner, 2);
  const cpu::Step steps[] = {{inner, 1}, {0, 0}, {0, 1}, {1, 0}};
  for (const cpu::Step& sa : steps)
    for (const cpu::Step& sb : steps) {
      auto y = poisoned<double>(outer * inner);
      cpu::binary(Binary::sub, outer, inner, a.data(), sa, b.data(), sb, y.data());
      std::vector<double> want(y.size());
      for (int64_t o = 0; o < outer; ++o)
        for (int64_t i = 0; i < inner; ++i)
          want[static_cast<size_t>(o * inner + i)] = a[static_cast<size_t>(o * sa.outer + i * sa.inner)] -
                                                     b[static_cast<size_t>(o * sb.outer + i * sb.inner)];
      CHECK(same_bits(y, want));
    }
}

TEST_CASE("binary operations are the ones they are named after") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto value = [](Binary op, float a, float b) {
    float y = 0;
    cpu::binary(op, 1, &a, &b, &y);
    return y;
  };
  CHECK(value(Binary::add, 3, 2) == 5);
  CHECK(value(Binary::sub, 3, 2) == 1);
  CHECK(value(Binary::mul, 3, 2) == 6);
  CHECK(value(Binary::div, 3, 2) == 1.5f);
  CHECK(value(Binary::max, 3, 2) == 3);
  CHECK(value(Binary::min, 3, 2) == 2);
  CHECK(value(Binary::pow, 3, 2) == 9);
  CHECK(value(Binary::greater, 2, 2) == 0);
  CHECK(value(Binary::greater_equal, 2, 2) == 1);
  CHECK(value(Binary::equal, 2, 2) == 1);
  CHECK(value(Binary::keep, 3, 1) == 3);
  CHECK(value(Binary::keep, std::numeric_limits<float>::infinity(), 0) == 0);
  for (const Binary op : {Binary::max, Binary::min, Binary::add}) {
    CHECK(std::isnan(value(op, nan, 1)));
    CHECK(std::isnan(value(op, 1, nan)));
  }
}

TEST_CASE("long vectors are covered in full by the parallel loops") {
  const int64_t n = 200001;
  const std::vector<float> rows{1, 2, 3};
  auto sums = poisoned<float>(3 * n);
  const std::vector<float> ones(static_cast<size_t>(n), 1);
  cpu::binary(Binary::add, 3, n, rows.data(), {1, 0}, ones.data(), {0, 1}, sums.data());
  for (int64_t i = 0; i < 3 * n; i += 777)
    REQUIRE(sums[static_cast<size_t>(i)] == static_cast<float>(2 + i / n));
  cpu::binary(Binary::add, 3, 0, rows.data(), {1, 0}, ones.data(), {0, 1},
              sums.data());  // no columns: nothing
  const auto x = random_values<float>(n, 1);
  auto y = poisoned<float>(n);
  cpu::scale(n, 2.0f, x.data(), y.data());
  cpu::axpy(n, -2.0f, x.data(), y.data());
  CHECK(distance(y, std::vector<float>(y.size())) == 0);
  cpu::clamp(n, -0.5f, 0.25f, x.data(), y.data());
  CHECK(sum_of(n, y.data()) < 0);
  for (const float value : y) REQUIRE((value >= -0.5f && value <= 0.25f));
  auto difference = poisoned<float>(n);
  cpu::binary(Binary::sub, n, x.data(), x.data(), difference.data());
  CHECK(distance(difference, std::vector<float>(y.size())) == 0);
}

TEST_CASE_TEMPLATE("softmax rows sum to one, keep denormals and stand alone", T, float, double) {
  const int64_t rows = 17, columns = 33;
  auto x = random_values<T>(rows * columns, 1);
  x[5] = 100;
  auto y = poisoned<T>(rows * columns), log_y = y, one = poisoned<T>(columns);
  cpu::softmax(rows, columns, x.data(), y.data());
  cpu::log_softmax(rows, columns, x.data(), log_y.data());
  CHECK(y[0] > 0);
  CHECK(y[0] == doctest::Approx(std::exp(static_cast<double>(x[0]) - 100)).epsilon(0.05));
  for (size_t row = 0; row < static_cast<size_t>(rows); ++row) {
    double total = 0;
    for (size_t i = row * static_cast<size_t>(columns); i < (row + 1) * static_cast<size_t>(columns); ++i) {
      total += static_cast<double>(y[i]);
      CHECK(static_cast<double>(log_y[i]) ==
            doctest::Approx(std::log(static_cast<double>(y[i]))).epsilon(0.01));
    }
    CHECK(total == doctest::Approx(1.0).epsilon(1e-6));
  }
  cpu::softmax(1, columns, x.data() + 7 * columns, one.data());
  CHECK(std::memcmp(one.data(), y.data() + 7 * columns, one.size() * sizeof(T)) == 0);
}

TEST_CASE("softmax gradients agree with central differences") {
  const int64_t columns = 7;
  const auto x = random_values<double>(columns, 1), dy = random_values<double>(columns, 2);
  auto y = poisoned<double>(columns), dx = y, log_y = y, log_dx = y;
  cpu::softmax(1, columns, x.data(), y.data());
  cpu::softmax_backward(1, columns, y.data(), dy.data(), dx.data());
  cpu::log_softmax(1, columns, x.data(), log_y.data());
  cpu::log_softmax_backward(1, columns, log_y.data(), dy.data(), log_dx.data());
  const auto along_dy = [&](auto forward, size_t i, double h) {
    auto moved = x;
    moved[i] += h;
    auto out = poisoned<double>(columns);
    forward(1, columns, moved.data(), out.data());
    double total = 0;
    for (size_t j = 0; j < out.size(); ++j) total += dy[j] * out[j];
    return total;
  };
  for (size_t i = 0; i < x.size(); ++i) {
    const double h = 1e-5;
    CHECK(dx[i] ==
          doctest::Approx((along_dy(cpu::softmax<double>, i, h) - along_dy(cpu::softmax<double>, i, -h)) /
                          (2 * h))
              .epsilon(1e-6));
    CHECK(log_dx[i] == doctest::Approx((along_dy(cpu::log_softmax<double>, i, h) -
                                        along_dy(cpu::log_softmax<double>, i, -h)) /
                                       (2 * h))
                           .epsilon(1e-6));
  }
}

TEST_CASE("sums agree with the plain loop and do not depend on threads") {
  const int64_t rows = 33, columns = 5001;
  const auto x = random_values<float>(rows * columns, 1);
  std::vector<double> by_row(33), by_column(5001), by_channel(3);
  double all = 0;
  for (int64_t i = 0; i < rows * columns; ++i) {
    const double value = static_cast<double>(x[static_cast<size_t>(i)]);
    all += value;
    by_row[static_cast<size_t>(i / columns)] += value;
    by_column[static_cast<size_t>(i % columns)] += value;
    by_channel[static_cast<size_t>(i / columns % 3)] += value;
  }
  CHECK(sum_of(rows * columns, x.data()) == doctest::Approx(static_cast<float>(all)).epsilon(1e-6));
  auto y = poisoned<float>(rows);
  cpu::sum_rows(rows, columns, x.data(), y.data());
  CHECK(distance(y, by_row) < 1e-5);
  y = poisoned<float>(columns);
  cpu::sum_columns(rows, columns, x.data(), y.data());
  CHECK(distance(y, by_column) < 1e-5);
  y = poisoned<float>(3);
  cpu::sum_channels(11, 3, columns, x.data(), y.data());
  CHECK(distance(y, by_channel) < 1e-4);
  check_threads([&] { return std::vector<float>{sum_of(rows * columns, x.data())}; });
  CHECK(sum_of(0, nullptr) == 0);
}

TEST_CASE("the maximum of a row is its first, and NaN counts as one") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<double> x{1, 3, 3, nan, 5, nan};
  auto maximum = poisoned<double>(2);
  std::vector<int64_t> argmax(2, -1);
  cpu::max_rows(2, 3, x.data(), maximum.data(), argmax.data());
  CHECK(maximum[0] == 3);
  CHECK(argmax[0] == 1);
  CHECK(std::isnan(maximum[1]));
  CHECK(argmax[1] == 0);
}

}  // namespace
