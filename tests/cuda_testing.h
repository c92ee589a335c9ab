// Tests of the functions in cuda/: the same call on a device and on the CPU, and how far apart the results
// are.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <doctest/doctest.h>
#include <limits>
#include <vector>

#include "core/random.h"
#include "core/tensor.h"
#include "tests/engines_testing.h"

namespace hashgrad::cuda_testing {

/// Extents at which kernels go wrong: nothing, one, less and more than a pack, a warp, a block.
inline const std::vector<int64_t> edges{0, 1, 3, 17, 33, 129, 1000};

template <class T>
constexpr double epsilon = static_cast<double>(std::numeric_limits<T>::epsilon());

/// Values in [low, high), a function of `key`; on the CPU.
template <class T>
Tensor values(const Shape& shape, uint64_t key, double low = -2, double high = 2) {
  Tensor t = Tensor::empty(shape, dtype_of<T>);
  Random random(key, Stream::test);
  for (int64_t i = 0; i < t.numel(); ++i)
    t.data<T>()[i] = static_cast<T>(low + (high - low) * random.uniform_double());
  return t;
}

/// The same with NaNs, infinities and denormals among them.
template <class T>
Tensor awkward_values(const Shape& shape, uint64_t key) {
  using Limits = std::numeric_limits<T>;
  Tensor t = values<T>(shape, key);
  const T special[] = {Limits::quiet_NaN(),
                       Limits::infinity(),
                       -Limits::infinity(),
                       Limits::denorm_min(),
                       -Limits::min() / 4,
                       T{0},
                       -T{0},
                       Limits::max(),
                       Limits::lowest(),
                       T{100},
                       T{-100}};
  for (int64_t i = 0; i < t.numel(); ++i)
    if (i % 3 == 1) t.data<T>()[i] = special[static_cast<size_t>(i / 3) % std::size(special)];
  return t;
}

/// Labels that move through all classes; on the CPU.
inline Tensor labels(int64_t rows, int64_t classes, int64_t first = 0) {
  std::vector<int64_t> y;
  for (int64_t i = 0; i < rows; ++i) y.push_back((i * 7 + first) % classes);
  return Tensor::of(y, {rows});
}

/// What call(device, T* out) writes to n elements. They start `offset` elements into a block of NaNs (of all
/// ones, for integers), which the call must leave alone on both sides.
template <class T, class Call>
std::vector<T> output_of(Device device, int64_t n, const Call& call, int64_t offset = 16) {
  Tensor block = Tensor::empty({n + offset + 16}, dtype_of<T>, device);
  block.fill(std::is_floating_point_v<T> ? NAN : -1.0);
  call(device, block.data<T>() + offset);
  const std::vector<T> all = block.to_vector<T>();
  const auto untouched = [](T v) {
    if constexpr (std::is_floating_point_v<T>)
      return std::isnan(v);
    else
      return v == static_cast<T>(-1);
  };
  CHECK(std::all_of(all.begin(), all.begin() + offset, untouched));
  CHECK(std::all_of(all.end() - 16, all.end(), untouched));
  return {all.begin() + offset, all.end() - 16};
}

/// Largest |a - b| / max(|b|, floor); infinite where one is NaN and the other is not, or where an infinity
/// differs.
template <class T>
double relative_error(const std::vector<T>& a, const std::vector<T>& b, double floor) {
  if (a.size() != b.size()) return INFINITY;
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double u = static_cast<double>(a[i]), v = static_cast<double>(b[i]);
    if (u == v || (std::isnan(u) && std::isnan(v))) continue;
    const double error = std::abs(u - v) / std::max(std::abs(v), floor);
    worst = std::isfinite(error) ? std::max(worst, error) : INFINITY;
  }
  return worst;
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

/// The error of `call` on a device against the CPU, with an output on 16 bytes and one beside it; run twice
/// on the device, the bits must be equal.
template <class T, class Call>
double error_of(Device device, int64_t n, const Call& call, double floor = 1) {
  const std::vector<T> here = output_of<T>(Device{}, n, call);
  double worst = 0;
  for (const int64_t offset : {16, 17}) {
    const std::vector<T> there = output_of<T>(device, n, call, offset);
    CHECK(same_bits(there, output_of<T>(device, n, call, offset)));
    worst = std::max(worst, relative_error(there, here, floor));
  }
  return worst;
}

/// Whether each row of a function of rows has the same bits alone as among the others. call(device, rows, x,
/// y) reads rows of x [rows, columns] and writes y [rows, outputs].
template <class T, class Call>
bool rows_stand_alone(Device device, const Tensor& x, int64_t outputs, const Call& call) {
  const Tensor there = x.to(device);
  const int64_t rows = x.size(0);
  const std::vector<T> all =
      output_of<T>(device, rows * outputs, [&](Device d, T* y) { call(d, rows, there.data<T>(), y); });
  for (int64_t row = 0; row < rows; ++row) {
    const std::vector<T> one = output_of<T>(
        device, outputs, [&](Device d, T* y) { call(d, int64_t{1}, there.data<T>() + row * x.size(1), y); });
    if (!same_bits(one, std::vector<T>(all.begin() + row * outputs, all.begin() + (row + 1) * outputs)))
      return false;
  }
  return true;
}

}  // namespace hashgrad::cuda_testing
