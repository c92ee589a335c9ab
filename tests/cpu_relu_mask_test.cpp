#include <algorithm>
#include <limits>

#include "cpu/channel_kernels.h"
#include "cpu/relu_mask.h"
#include "tests/cpu_testing.h"

namespace {

using namespace hashgrad;
using namespace hashgrad::cpu_testing;

template <class T>
std::vector<T> outputs_of_relu(int64_t n) {
  std::vector<T> y = random_values<T>(n, 1);
  for (size_t i = 0; i < y.size(); ++i) {
    y[i] = std::max(y[i], T{0});
    if (i % 7 == 3) y[i] = std::numeric_limits<T>::quiet_NaN();
    if (i % 11 == 5) y[i] = std::numeric_limits<T>::denorm_min();
    if (i % 13 == 6) y[i] = -T{0};
  }
  return y;
}

TEST_CASE_TEMPLATE("a ReLU's mask lets through what its output is positive for, from any bit on", T, float,
                   double) {
  for_each_isa([] {
    for (const int64_t n : {0, 1, 3, 8, 17, 33, 129, 70000})
      for (const bool nan_passes : {false, true}) {
        CAPTURE(n);
        const std::vector<T> y = outputs_of_relu<T>(n), dy = random_values<T>(n, 2);
        std::vector<uint8_t> mask(static_cast<size_t>(cpu::relu_mask_bytes(n)), 0xff);
        cpu::make_relu_mask(n, y.data(), nan_passes, mask.data());
        for (const int64_t first : {0, 1, 5, 16, 49}) {
          if (first > n) continue;
          std::vector<T> want(dy.begin() + first, dy.end());
          for (size_t i = 0; i < want.size(); ++i) {
            const T output = y[i + static_cast<size_t>(first)];
            if (!(output > 0 || (nan_passes && std::isnan(output)))) want[i] = 0;
          }
          auto g = poisoned<T>(n - first);
          cpu::channel_kernels().of<T>().pass(n - first, mask.data(), first, dy.data() + first, g.data());
          CHECK(same_bits(g, want));
          std::copy(dy.begin() + first, dy.end(), g.begin());
          cpu::channel_kernels().of<T>().pass(n - first, mask.data(), first, g.data(), g.data());
          CHECK(same_bits(g, want));
        }
      }
  });
}

}  // namespace
