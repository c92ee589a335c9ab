#include "cpu/reduce.h"
#include "tests/cpu_testing.h"

using namespace hashgrad;
using namespace hashgrad::cpu_testing;

TEST_CASE_TEMPLATE("one element that is not finite, or not in the box, is found wherever it is", T, float,
                   double) {
  const T infinity = std::numeric_limits<T>::infinity(), largest = std::numeric_limits<T>::max();
  for (const int64_t n : {1, 3, 17, 129, 200000}) {
    std::vector<T> x(static_cast<size_t>(n), T{1});
    for (const int64_t at : {int64_t{0}, n / 2, n - 1}) {
      T& element = x[static_cast<size_t>(at)];
      for (const T bad : {static_cast<T>(NAN), infinity, -infinity}) {
        element = bad;
        CHECK_FALSE(cpu::all_finite(n, x.data()));
        CHECK_FALSE(cpu::all_in_box(n, x.data()));
      }
      for (const T outside :
           {largest, -largest, std::nextafter(T{1}, T{2}), -std::numeric_limits<T>::denorm_min()}) {
        element = outside;
        CHECK(cpu::all_finite(n, x.data()));
        CHECK_FALSE(cpu::all_in_box(n, x.data()));
      }
      for (const T inside : {T{0}, -T{0}, T{1}}) {
        element = inside;
        CHECK(cpu::all_finite(n, x.data()));
        CHECK(cpu::all_in_box(n, x.data()));
      }
    }
  }
  CHECK(cpu::all_finite<T>(0, nullptr));
  CHECK(cpu::all_in_box<T>(0, nullptr));
}

TEST_CASE_TEMPLATE("groups that alternate are summed in double throughout", T, float, double) {
  const T large = static_cast<T>(1 << 24);  // beside it float32 has no room for 1
  const std::vector<T> x{large, 0, -large, 0, 0, 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 7};  // [2,2,2,2]
  T y[4] = {};
  cpu::sum_groups(cpu::Groups{4, {2, 2, 2, 2}, {true, false, true, false}}, 1, x.data(), y);
  CHECK(std::vector<T>(y, y + 4) == std::vector<T>{1, 0, 5, 7});
}
