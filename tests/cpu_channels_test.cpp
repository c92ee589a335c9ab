#include "cpu/channel_kernels.h"
#include "tests/cpu_testing.h"

namespace {

using namespace hashgrad;
using namespace hashgrad::cpu_testing;

constexpr int64_t sizes[] = {1, 2, 15, 16, 17, 31, 49, 64, 1003};

/// A plane far from zero, so that squares of values would cancel.
template <class T>
std::vector<T> far_plane(int64_t n) {
  auto x = random_values<T>(n, 1);
  for (T& value : x) value = 1000 + 3 * value;
  return x;
}

template <class T>
T sum_by_definition(const std::vector<T>& x) {
  T parts[16] = {}, total{0};
  const size_t whole = x.size() / 16 * 16;
  for (size_t i = 0; i < whole; ++i) parts[i % 16] += x[i];
  for (size_t i = whole; i < x.size(); ++i) total += x[i];
  for (const T part : parts) total += part;
  return total;
}

TEST_CASE_TEMPLATE("sums over a plane agree with their definition on every instruction set", T, float,
                   double) {
  for (const int64_t n : sizes) {
    CAPTURE(n);
    const auto x = far_plane<T>(n), dy = random_values<T>(n, 2);
    const double count = static_cast<double>(n);
    double mean = 0, spread = 0, sum_dy = 0, product = 0;
    for (const T value : x) mean += (static_cast<double>(value) - 1000) / count;
    mean += 1000;
    const T center = static_cast<T>(mean);
    for (size_t i = 0; i < x.size(); ++i) {
      spread += (static_cast<double>(x[i]) - mean) * (static_cast<double>(x[i]) - mean);
      sum_dy += static_cast<double>(dy[i]);
      product += static_cast<double>(dy[i]) * (static_cast<double>(x[i]) - static_cast<double>(center));
    }
    for_each_isa([&] {
      const auto& kernel = cpu::channel_kernels().of<T>();
      double got[4];
      kernel.moments(n, x.data(), &got[0], &got[1]);
      kernel.products(n, x.data(), dy.data(), center, &got[2], &got[3]);
      CHECK(std::abs(got[0] - mean) <= 1e-12 * mean);
      CHECK(std::abs(got[1] - spread) <= 1e-11 * spread + 1e-18);
      CHECK(std::abs(got[2] - sum_dy) <= 1e-13 * count);
      CHECK(std::abs(got[3] - product) <= 1e-12 * count);
      CHECK(kernel.sum(n, x.data()) == sum_by_definition(x));
    });
  }
}

TEST_CASE_TEMPLATE("equal values have no spread, and a NaN reaches every sum", T, float, double) {
  for (const int64_t n : sizes) {
    CAPTURE(n);
    std::vector<T> x(static_cast<size_t>(n), static_cast<T>(0.1));
    for_each_isa([&] {
      const auto& kernel = cpu::channel_kernels().of<T>();
      double mean, spread, sum, product;
      x.back() = static_cast<T>(0.1);
      kernel.moments(n, x.data(), &mean, &spread);
      CHECK(mean == doctest::Approx(static_cast<double>(x.back())).epsilon(1e-15));
      CHECK(spread < 1e-29);
      x.back() = std::numeric_limits<T>::quiet_NaN();
      kernel.moments(n, x.data(), &mean, &spread);
      CHECK(std::isnan(mean));
      CHECK(std::isnan(spread));
      kernel.products(n, x.data(), x.data(), T{0}, &sum, &product);
      CHECK(std::isnan(sum));
      CHECK(std::isnan(product));
    });
  }
}

TEST_CASE_TEMPLATE("passes over a plane write that plane alone, in place too", T, float, double) {
  for (const int64_t n : sizes) {
    CAPTURE(n);
    const auto x = random_values<T>(n, 1), dy = random_values<T>(n, 2);
    const T center = static_cast<T>(0.25), slope = 3, shift = -2, along = static_cast<T>(0.5);
    for_each_isa([&] {
      const auto& kernel = cpu::channel_kernels().of<T>();
      auto y = poisoned<T>(n + 1), dx = y, scaled = y;
      std::copy(x.begin(), x.end(), y.begin());
      std::copy(dy.begin(), dy.end(), dx.begin());
      kernel.normalise(n, y.data(), center, slope, shift, nullptr, false, y.data());
      kernel.gradient(n, x.data(), dx.data(), center, slope, shift, along, dx.data());
      kernel.scale(n, x.data(), slope, scaled.data());
      for (size_t i = 0; i < x.size(); ++i) {
        CHECK(std::abs(y[i] - ((x[i] - center) * slope + shift)) <= tolerance<T>(1));
        CHECK(std::abs(dx[i] - slope * (dy[i] - shift - (x[i] - center) * along)) <= tolerance<T>(1));
        CHECK(scaled[i] == slope * x[i]);
      }
      CHECK(std::isnan(y.back()));
      CHECK(std::isnan(dx.back()));
      CHECK(std::isnan(scaled.back()));
    });
  }
}

TEST_CASE_TEMPLATE("normalising with addition and ReLU has the bits of one step after the other", T, float,
                   double) {
  for (const int64_t n : sizes) {
    CAPTURE(n);
    const auto x = random_values<T>(n, 1), added = random_values<T>(n, 2), dy = random_values<T>(n, 3);
    const T center = static_cast<T>(0.25), slope = 3, shift = static_cast<T>(-0.3);
    for_each_isa([&] {
      const auto& kernel = cpu::channel_kernels().of<T>();
      auto y = poisoned<T>(n + 1), of_x = y, both = y, g = y, again = y;
      kernel.normalise(n, x.data(), center, slope, shift, nullptr, false, y.data());
      kernel.normalise(n, x.data(), center, slope, shift, nullptr, true, of_x.data());
      std::copy(added.begin(), added.end(), both.begin());
      kernel.normalise(n, x.data(), center, slope, shift, both.data(), true, both.data());
      kernel.gate(n, x.data(), dy.data(), center, slope, shift, g.data());
      kernel.gate(n, of_x.data(), dy.data(), 0, 1, 0, again.data());
      for (size_t i = 0; i < x.size(); ++i) {
        CHECK(of_x[i] == std::max(y[i], T{0}));
        CHECK(both[i] == std::max(y[i] + added[i], T{0}));
        CHECK(g[i] == (y[i] <= 0 ? 0 : dy[i]));
        CHECK(again[i] == g[i]);
      }
      for (const auto& result : {of_x, both, g, again}) CHECK(std::isnan(result.back()));
    });
  }
}

TEST_CASE_TEMPLATE("a NaN passes the ReLU of a plane both ways, a zero of either sign only forward", T, float,
                   double) {
  const T nan = std::numeric_limits<T>::quiet_NaN();
  for (const int64_t n : sizes)
    for_each_isa([&] {
      const auto& kernel = cpu::channel_kernels().of<T>();
      const auto dy = random_values<T>(n, 1);
      auto y = poisoned<T>(n), g = y;
      for (const T value : {nan, T{0}, -T{0}}) {
        const std::vector<T> x(static_cast<size_t>(n), value);
        kernel.normalise(n, x.data(), 0, 1, -T{0}, nullptr, true, y.data());
        kernel.gate(n, x.data(), dy.data(), 0, 1, 0, g.data());
        for (size_t i = 0; i < x.size(); ++i) {
          CHECK(std::isnan(y[i]) == std::isnan(value));
          CHECK(std::signbit(y[i]) == std::signbit(value));
          CHECK(g[i] == (std::isnan(value) ? dy[i] : 0));
        }
      }
    });
}

}  // namespace
