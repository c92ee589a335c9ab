#include <array>
#include <bit>
#include <doctest/doctest.h>
#include <random>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/hash.h"
#include "core/xxhash.h"
#include "cpu/hash_gemm.h"
#include "tests/hash_quality.h"

using namespace hashgrad;

TEST_CASE("the hash has the values that docs/hashing.md states") {
  CHECK(row_key(0, 0) == 0x29dcea06u);
  CHECK(row_key(1691, 511) == 0x1ebe28bdu);
  CHECK(row_key(0x0123456789abcdef, 1) == 0x18e2a69du);
  CHECK(column_key(0, 1) == 0x7a74eb73u);
  CHECK(column_key(0x0123456789abcdef, 6271) == 0xe1a981f0u);
  CHECK(bias_key(1691, 1) == 0x81b0f13cu);
  CHECK(layer_seed(1, 0) == 0x885a3b468adc356aull);
  CHECK(layer_seed(~uint64_t{0}, 7) == 0x7ff898e08af84bdaull);
  CHECK(layer_seed(1691, 3, HashMode::xxhash) == 1691);

  const uint32_t first = row_key(42, 0), last = row_key(42, 511), left = column_key(42, 0);
  for (const auto& [buckets, a, b] : {std::array<uint32_t, 3>{1, 0, 0},
                                      {1000, 412, 150},
                                      {50176, 20697, 7547},
                                      {2147483647, 885846992, 323038930}}) {
    CHECK(hash_slot(first, left, 2 * buckets) == a);
    CHECK(hash_slot(last, column_key(42, 6271), 2 * buckets) == b);
  }
}

TEST_CASE("xxhash32 has the published values") {
  constexpr uint32_t prime = 0x9e3779b1u;
  CHECK(xxhash32("", 0) == 0x02cc5d05u);
  CHECK(xxhash32("", prime) == 0x36b78ae7u);
  CHECK(xxhash32("abc", 0) == 0x32d153ffu);
  CHECK(xxhash32("Nobody inspects the spammish repetition", 0) == 0xe2293b2fu);
  std::string bytes;  // the generator of the reference implementation's self-test
  for (uint64_t g = prime; bytes.size() < 222; g *= 0x9e3779b185ebca8dull)
    bytes += static_cast<char>(g >> 56);
  CHECK(xxhash32(bytes.substr(0, 1), 0) == 0xcf65b03eu);
  CHECK(xxhash32(bytes.substr(0, 14), prime) == 0x6af1d1feu);
  CHECK(xxhash32(bytes, 0) == 0x5bd11dbdu);
  CHECK(xxhash32(bytes, prime) == 0x58803c5fu);
}

TEST_CASE("mode xxhash places weights and biases by the text keys of the original release") {
  const HashSpec spec{xxhash_default_seed, 1000, HashMode::xxhash};
  const auto slots = [](const cpu::HashedMatrix& v) {
    std::vector<uint32_t> out;
    for (int64_t i = 0; i < v.rows(); ++i) {
      for (int64_t j = 0; j < v.columns(); ++j) out.push_back(v.slot(i, j));
    }
    return out;
  };
  using Slots = std::vector<uint32_t>;
  CHECK(text_index(8) == "91011");
  CHECK(slots(cpu::HashedMatrix::linear(spec, 3, 4)) ==
        Slots{1641, 319, 1306, 1057, 65, 1648, 391, 1429, 1163, 258, 1521, 1767});
  CHECK(slots(cpu::HashedMatrix::linear_bias(spec, 6)) == Slots{704, 1526, 1571, 901, 1758, 1651});
  CHECK(slots(cpu::HashedMatrix::convolution(spec, 2, 2, 2, 2)) ==
        Slots{542, 1232, 1095, 235, 187, 1136, 698, 1771, 37, 586, 46, 458, 1849, 295, 1704, 593});
  CHECK(slots(cpu::HashedMatrix::convolution_bias(spec, 4)) == Slots{96, 48, 147, 1303});
}

TEST_CASE("the number of buckets is the rate's share, rounded up") {
  CHECK(cpu::bucket_count(6272 * 512, 1.0 / 8) == 401408);
  CHECK(cpu::bucket_count(5120, 1.0 / 64) == 80);
  CHECK(cpu::bucket_count(10, 1.0 / 64) == 1);
  CHECK(cpu::bucket_count(10, 1.0) == 10);
  CHECK_THROWS_WITH_AS(cpu::bucket_count(10, 0.0), "hash: compression rate 0 is not in (0, 1]", Error);
  CHECK_THROWS_AS(cpu::bucket_count(10, 1.5), Error);
  CHECK_THROWS_AS(cpu::bucket_count(10, std::nan("")), Error);
  CHECK_THROWS_AS(cpu::bucket_count(0, 0.5), Error);
  CHECK_THROWS_AS(cpu::bucket_count(int64_t{1} << 40, 1.0), Error);
}

TEST_CASE("a hashed matrix refuses sizes out of range") {
  using cpu::HashedMatrix;
  CHECK_THROWS_WITH_AS(HashedMatrix::linear({1, 0, HashMode::full}, 2, 2),
                       "hash: 0 buckets, expected 1 to 2147483647", Error);
  CHECK_THROWS_AS(HashedMatrix::linear({1, int64_t{1} << 31, HashMode::full}, 2, 2), Error);
  CHECK_THROWS_AS(HashedMatrix::linear({1, 4, HashMode::full}, 0, 2), Error);
  CHECK_THROWS_AS(HashedMatrix::linear({1, 4, HashMode::full}, int64_t{1} << 40, 2), Error);
  CHECK_THROWS_AS(HashedMatrix::convolution({1, 4, HashMode::full}, 2, int64_t{1} << 40, int64_t{1} << 40, 3),
                  Error);
  CHECK_THROWS_AS(HashedMatrix::linear({1, 4, HashMode::xxhash}, 1 << 20, 1 << 20), Error);
}

TEST_CASE("every bit of row, column and seed changes about half of the hash") {
  std::mt19937_64 random(1);
  constexpr int samples = 300;
  const auto bits = [](uint64_t seed, uint32_t i, uint32_t j) {
    return hash_bits(row_key(seed, i), column_key(seed, j));
  };
  for (int bit = 0; bit < 128; ++bit) {
    int flipped = 0;
    for (int n = 0; n < samples; ++n) {
      const uint64_t seed = random(), position = random();
      const auto i = static_cast<uint32_t>(position), j = static_cast<uint32_t>(position >> 32);
      const uint64_t flip = uint64_t{1} << bit % 64;
      const uint32_t other =
          bit < 64 ? bits(seed ^ flip, i, j)
                   : bits(seed, i ^ static_cast<uint32_t>(flip), j ^ static_cast<uint32_t>(flip >> 32));
      flipped += std::popcount(bits(seed, i, j) ^ other);
    }
    CAPTURE(bit);
    CHECK(flipped > 0.45 * 32 * samples);
    CHECK(flipped < 0.55 * 32 * samples);
  }
}

namespace {

uint32_t reduce(uint32_t x, uint32_t slots) { return static_cast<uint32_t>((uint64_t{x} * slots) >> 32); }

template <class Family>
std::vector<std::string> faults_at(const Family& family, uint32_t slots) {
  return quality::faults(quality::measure(family, slots, 192, 384, 3));
}

}  // namespace

TEST_CASE("virtual weights are placed as if at random") {
  const auto ours = [](uint64_t seed, uint32_t slots) {
    return [=](uint32_t i, uint32_t j) { return hash_slot(row_key(seed, i), column_key(seed, j), slots); };
  };
  for (const uint32_t slots : {32u, 512u, 2000u}) CHECK(faults_at(ours, slots) == std::vector<std::string>{});
}

TEST_CASE("the measures of randomness refuse hashes that are broken") {
  const auto bare_xor = [](uint64_t seed, uint32_t slots) {
    return [=](uint32_t i, uint32_t j) { return reduce(row_key(seed, i) ^ column_key(seed, j), slots); };
  };
  const auto linear = [](uint64_t seed, uint32_t slots) {
    return [=](uint32_t i, uint32_t j) {
      const uint64_t a = row_key(seed, 0), b = column_key(seed, 0);
      return static_cast<uint32_t>((a * i + b * j + seed) % 2038074743u % slots);
    };
  };
  const auto multiply_shift = [](uint64_t seed, uint32_t slots) {
    return
        [=](uint32_t i, uint32_t j) { return reduce((row_key(seed, i) | 1) * j + row_key(~seed, i), slots); };
  };
  const auto has = [](const std::vector<std::string>& faults, const char* name) {
    return std::find(faults.begin(), faults.end(), name) != faults.end();
  };
  const auto of_xor = faults_at(bare_xor, 32), of_linear = faults_at(linear, 512);
  CHECK(has(of_xor, "rank"));
  CHECK(has(of_xor, "row pairs"));
  CHECK(has(of_xor, "column crosstalk"));
  CHECK(has(of_linear, "rank"));
  CHECK(has(of_linear, "lags"));
  CHECK(faults_at(multiply_shift, 512) == std::vector<std::string>{"lags"});
}
