#include "core/error.h"
#include "cpu/pool2d.h"
#include "tests/cpu_testing.h"

namespace {

using namespace hashgrad;
using namespace hashgrad::cpu_testing;
using cpu::Pool2dShape;

const Pool2dShape shapes[] = {{0, 4, 4, 2, 2},    {1, 1, 1, 1, 1},   {3, 17, 9, 2, 2},
                              {5, 7, 7, 3, 2, 1}, {2, 12, 33, 3, 3}, {2, 6, 5, 5, 1, 2}};

int64_t in_size(const Pool2dShape& s) { return s.planes * s.height * s.width; }
int64_t out_size(const Pool2dShape& s) { return s.planes * s.out_height() * s.out_width(); }

/// visit(output index, input index) for every pair of an output and an element of its window.
template <class Visit>
void for_each_pair(const Pool2dShape& s, const Visit& visit) {
  for (int64_t out = 0; out < out_size(s); ++out) {
    const int64_t plane = out / (s.out_height() * s.out_width());
    const int64_t top = out / s.out_width() % s.out_height() * s.stride - s.padding;
    const int64_t left = out % s.out_width() * s.stride - s.padding;
    for (int64_t y = top; y < top + s.kernel; ++y)
      for (int64_t x = left; x < left + s.kernel; ++x)
        if (y >= 0 && y < s.height && x >= 0 && x < s.width)
          visit(static_cast<size_t>(out), static_cast<size_t>((plane * s.height + y) * s.width + x));
  }
}

TEST_CASE_TEMPLATE("pooling agrees with its definition, forward and backward", T, float, double) {
  for (const Pool2dShape& s : shapes) {
    auto x = random_values<T>(in_size(s), 1);
    for (T& value : x) value = std::round(value * 4);  // ties
    const auto dy = random_values<T>(out_size(s), 2);
    const double share = 1.0 / static_cast<double>(s.kernel * s.kernel);
    std::vector<double> want_max(dy.size(), -100), want_avg(dy.size()), dmax(x.size()), davg(x.size());
    std::vector<size_t> winner(dy.size());
    for_each_pair(s, [&](size_t out, size_t in) {
      if (x[in] > want_max[out]) {
        want_max[out] = x[in];
        winner[out] = in;
      }
      want_avg[out] += x[in] * share;
      davg[in] += dy[out] * share;
    });
    for (size_t i = 0; i < dy.size(); ++i) dmax[winner[i]] += dy[i];

    auto y = poisoned<T>(out_size(s)), dx = poisoned<T>(in_size(s));
    std::vector<int32_t> argmax(y.size(), -1);
    cpu::max_pool2d_forward(s, x.data(), y.data(), argmax.data());
    CHECK(distance(y, want_max) == 0);
    cpu::max_pool2d_backward(s, dy.data(), argmax.data(), dx.data());
    CHECK(distance(dx, dmax) <= tolerance<T>(4));
    y = poisoned<T>(out_size(s));
    dx = poisoned<T>(in_size(s));
    cpu::avg_pool2d_forward(s, x.data(), y.data());
    CHECK(distance(y, want_avg) <= tolerance<T>(25));
    cpu::avg_pool2d_backward(s, dy.data(), dx.data());
    CHECK(distance(dx, davg) <= tolerance<T>(25));
  }
}

TEST_CASE("a NaN wins its window of a max pool") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> x{1, nan, 9, 2};
  float y = 0;
  int32_t argmax = -1;
  cpu::max_pool2d_forward({1, 2, 2, 2, 2}, x.data(), &y, &argmax);
  CHECK(std::isnan(y));
  CHECK(argmax == 1);
}

TEST_CASE_TEMPLATE("max pooling finds the same on every instruction set", T, float, double) {
  const T infinity = std::numeric_limits<T>::infinity(), nan = std::numeric_limits<T>::quiet_NaN();
  for (const Pool2dShape& s : {Pool2dShape{2, 40, 37, 3, 2, 1}, Pool2dShape{2, 40, 37, 2, 2}}) {
    auto x = random_values<T>(in_size(s), 1);
    x[7] = nan;
    x[100] = infinity;
    for (int64_t i = 400; i < 600; ++i) x[static_cast<size_t>(i)] = -infinity;
    std::vector<size_t> winner(static_cast<size_t>(out_size(s)), x.size());
    for_each_pair(s, [&](size_t out, size_t in) {
      size_t& best = winner[out];
      if (best == x.size() || x[in] > x[best] || std::isnan(x[in])) best = in;
    });
    for_each_isa([&] {
      auto y = poisoned<T>(out_size(s)), y_alone = y;
      std::vector<int32_t> argmax(y.size(), -1);
      cpu::max_pool2d_forward(s, x.data(), y.data(), argmax.data());
      cpu::max_pool2d_forward(s, x.data(), y_alone.data(), nullptr);
      CHECK(same_bits(y, y_alone));
      for (size_t out = 0; out < y.size(); ++out) {
        const size_t plane = out / static_cast<size_t>(s.out_height() * s.out_width());
        CHECK(winner[out] ==
              plane * static_cast<size_t>(s.height * s.width) + static_cast<size_t>(argmax[out]));
        CHECK(std::memcmp(&y[out], &x[winner[out]], sizeof(T)) == 0);
      }
    });
  }
}

TEST_CASE("global average pooling is the mean of each plane") {
  const auto x = random_values<double>(3 * 129, 1), dy = random_values<double>(3, 2);
  auto y = poisoned<double>(3), dx = poisoned<double>(3 * 129);
  cpu::global_avg_pool_forward(3, 129, x.data(), y.data());
  cpu::global_avg_pool_backward(3, 129, dy.data(), dx.data());
  for (size_t plane = 0; plane < 3; ++plane) {
    double mean = 0;
    for (size_t i = 0; i < 129; ++i) mean += x[plane * 129 + i] / 129;
    CHECK(y[plane] == doctest::Approx(mean).epsilon(1e-12));
    CHECK(dx[plane * 129 + 128] == dy[plane] / 129);
  }
}

TEST_CASE("a pool that cannot be is refused with its reason") {
  CHECK_THROWS_WITH_AS(cpu::check_pool2d({1, 2, 2, 3, 1}),
                       "pool2d: window of 3 does not fit 2 x 2 with padding 0", Error);
  CHECK_THROWS_AS(cpu::check_pool2d({1, 2, 3, 3, 1}), Error);
  CHECK_THROWS_AS(cpu::check_pool2d({1, 3, 2, 3, 1}), Error);
  CHECK_THROWS_AS(cpu::check_pool2d({-1, 4, 4, 2, 2}), Error);
  CHECK_THROWS_AS(cpu::check_pool2d({1, 4, 4, 2, 0}), Error);
  CHECK_NOTHROW(cpu::check_pool2d({1, INT32_MAX, 1, 1, 1}));
  CHECK_THROWS_WITH_AS(cpu::check_pool2d({1, int64_t{1} << 30, 2, 2, 2}),
                       "pool2d: planes of 1073741824 x 2 have more than 2147483647 pixels", Error);
  CHECK_THROWS_AS(cpu::check_pool2d({1, 4, 4, 2, 2, 2}), Error);
}

}  // namespace
