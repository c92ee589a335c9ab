#include "cuda/engines.h"

#if HASHGRAD_WITH_EMULATOR
#include <cstdint>
#include <doctest/doctest.h>

#include "core/random.h"
#include "cuda/divisor.h"

using namespace hashgrad;

TEST_CASE("cuda: division by multiplication is exact at and beside every kind of border") {
  Random random(1, Stream::test);
  int64_t wrong = 0;
  const auto check_divisor = [&](int64_t d) {
    const emu::Divisor divisor(d);
    const emu::LongDivisor divisor_long(d);
    constexpr int64_t largest = INT32_MAX, far = INT64_MAX;
    for (const int64_t n : {int64_t{0}, d - 1, d, d + 1, largest / d * d, largest / d * d - 1, largest}) {
      if (n < 0 || n > largest) continue;
      const int narrow = static_cast<int>(n), quotient = divisor.quotient(narrow);
      wrong += quotient != n / d || divisor.remainder(narrow, quotient) != n % d;
    }
    for (const int64_t n : {int64_t{0}, d - 1, d, far / d * d, far / d * d - 1, far, far / 3}) {
      const int64_t quotient = divisor_long.quotient(n);
      wrong += quotient != n / d || divisor_long.remainder(n, quotient) != n % d;
    }
  };
  for (int64_t d = 1; d <= 3000; ++d) check_divisor(d);
  for (int bits = 2; bits < 31; ++bits)
    for (const int64_t d : {(int64_t{1} << bits) - 1, int64_t{1} << bits, (int64_t{1} << bits) + 1})
      check_divisor(d);
  for (int i = 0; i < 10000; ++i) check_divisor(1 + (random.bits() >> 2 >> i % 30));
  CHECK(wrong == 0);
}
#endif
