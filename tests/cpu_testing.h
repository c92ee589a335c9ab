// Helpers of the CPU engine's tests: inputs from the counter-based generator, poisoned outputs, comparison
// with a double-precision oracle, and the loop over every instruction set that this machine has.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <doctest/doctest.h>
#include <limits>
#include <vector>

#include "core/parallel.h"
#include "core/random.h"
#include "cpu/kernels.h"
#include "tests/skipped.h"

namespace hashgrad::cpu_testing {

/// n values in [-1, 1), a function of `key`.
template <class T>
std::vector<T> random_values(int64_t n, uint64_t key) {
  Random random(key, Stream::test);
  std::vector<T> values(static_cast<size_t>(n));
  for (T& value : values) value = static_cast<T>(2 * random.uniform_double() - 1);
  return values;
}

/// n NaNs: an element that is not written shows.
template <class T>
std::vector<T> poisoned(int64_t n) {
  return std::vector<T>(static_cast<size_t>(n), std::numeric_limits<T>::quiet_NaN());
}

/// Largest |a - b|; infinite when a NaN or a difference in size is found.
template <class A, class B>
double distance(const std::vector<A>& a, const std::vector<B>& b) {
  if (a.size() != b.size()) return std::numeric_limits<double>::infinity();
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    if (!(d <= worst)) worst = std::isnan(d) ? std::numeric_limits<double>::infinity() : d;
  }
  return worst;
}

/// Equal bit for bit, NaNs included.
template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

/// Rounding error to allow in a sum of n terms of at most one.
template <class T>
double tolerance(int64_t n) {
  return (4 + std::sqrt(static_cast<double>(n))) * 8 * static_cast<double>(std::numeric_limits<T>::epsilon());
}

/// Largest error relative to the largest value, in units of sqrt(terms) * epsilon: rounding errors of a sum
/// of that many random terms stay near 1.
template <class T>
double sum_error(const std::vector<T>& got, const std::vector<double>& expected, double terms) {
  REQUIRE(got.size() == expected.size());
  double scale = 1, worst = 0;
  for (const double x : expected) scale = std::max(scale, std::abs(x));
  for (size_t e = 0; e < got.size(); ++e) {
    const double off = std::abs(static_cast<double>(got[e]) - expected[e]);
    worst = off <= worst ? worst : off;  // a NaN must not be lost
  }
  return worst / scale / (std::sqrt(terms) * static_cast<double>(std::numeric_limits<T>::epsilon()));
}

/// The instruction set in use for as long as this lives.
class IsaScope {
 public:
  explicit IsaScope(cpu::Isa isa) { cpu::set_isa(isa); }
  ~IsaScope() { cpu::set_isa(before_); }
  IsaScope(const IsaScope&) = delete;
  IsaScope& operator=(const IsaScope&) = delete;

 private:
  cpu::Isa before_ = cpu::isa();
};

/// Calls body() with each instruction set in use that this machine supports.
template <class Body>
void for_each_isa(const Body& body) {
  for (const cpu::Isa isa :
       {cpu::Isa::plain, cpu::Isa::avx2, cpu::Isa::avx512, cpu::Isa::avx512bf16, cpu::Isa::amx}) {
    if (!cpu::isa_supported(isa)) {
      testing::count_skipped(cpu::isa_name(isa), "this processor has no such instructions");
      continue;
    }
    CAPTURE(std::string(cpu::isa_name(isa)));  // of a pointer doctest shows the address
    const IsaScope scope(isa);
    body();
  }
}

/// The result of compute() with one, two and five threads must have the same bits.
template <class Compute>
void check_threads(const Compute& compute) {
  const int before = threads();
  set_threads(1);
  const auto one = compute();
  for (const int n : {2, 5}) {
    set_threads(n);
    CHECK(same_bits(one, compute()));
  }
  set_threads(before);
}

}  // namespace hashgrad::cpu_testing
