#include <algorithm>
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

namespace {

/// Slot of (i, j) by the functions of core/hash.h alone.
uint32_t slot_by_hand(const HashSpec& spec, uint32_t i, uint32_t j) {
  const uint32_t row = row_key(spec.seed, i), column = column_key(spec.seed, j);
  if (spec.mode == HashMode::full) return hash_slot(row, column, static_cast<uint32_t>(2 * spec.buckets));
  const Strata strata = strata_of(spec);
  const uint32_t tile =
      tile_word(row_tile_keys(spec.seed, i / 32), column_tile_keys(spec.seed, j / 32), strata);
  return stratified_slot(row, column, row_bank(i) ^ column_bank(j), tile, strata);
}

}  // namespace

TEST_CASE("modes strat and window have the values that docs/hashing.md states") {
  struct Row {
    HashMode mode;
    int64_t buckets;
    std::array<uint32_t, 4> slots;
  };
  const HashMode strat = HashMode::strat, window = HashMode::window;
  for (const Row& row : {Row{strat, 32, {0, 2, 2, 18}},
                         {strat, 4096, {1664, 3203, 195, 595}},
                         {strat, 50176, {20672, 39618, 2946, 7507}},
                         {strat, 2147483616, {885846976, 1696879043, 127325186, 323038930}},
                         {window, 32, {0, 2, 2, 18}},
                         {window, 4096, {5952, 6722, 5187, 6739}},
                         {window, 50176, {63936, 64706, 63171, 79507}},
                         {window, 2147483616, {2701787968, 2701788738, 2701787203, 3391457811}}}) {
    const HashSpec spec{42, row.buckets, row.mode};
    CHECK(slot_by_hand(spec, 0, 0) == row.slots[0]);
    CHECK(slot_by_hand(spec, 0, 1) == row.slots[1]);
    CHECK(slot_by_hand(spec, 1, 0) == row.slots[2]);
    CHECK(slot_by_hand(spec, 511, 6271) == row.slots[3]);
    const auto v = cpu::HashedMatrix::linear(spec, 512, 6272);
    CHECK(v.slot(511, 6271) == row.slots[3]);
  }
}

TEST_CASE("a stratified matrix never asks one bank of shared memory twice in the patterns of a warp") {
  const HashSpec spec{7, 4096, HashMode::strat};
  const auto all_banks = [&](uint32_t i0, uint32_t j0, const auto& row, const auto& column) {
    uint32_t seen = 0;
    for (uint32_t lane = 0; lane < 32; ++lane)
      seen |= 1u << (slot_by_hand(spec, i0 + row(lane), j0 + column(lane)) >> 1 & 31);
    return seen == ~0u;
  };
  const auto none = [](uint32_t) { return 0u; };
  const auto lane = [](uint32_t l) { return l; };
  const auto group = [](uint32_t l) { return l / 4; };       // rows of a tensor-core fragment
  const auto pair = [](uint32_t l) { return 2 * (l % 4); };  // its columns, of elements 0 and 1
  for (uint32_t tile = 0; tile < 6; ++tile) {
    const uint32_t i = 32 * (tile % 3), j = 32 * (tile / 3);
    for (uint32_t at = 0; at < 32; ++at) {
      CHECK(all_banks(i + at, j, none, lane));
      CHECK(all_banks(i, j + at, lane, none));
      CHECK(all_banks(i + at / 8 * 8, j + at % 4 * 8 + at / 4 % 2, group, pair));
      CHECK(all_banks(i + at % 4 * 8 + at / 4 % 2, j + at / 8 * 8, pair, group));
    }
  }
}

TEST_CASE("a window holds the buckets of its block") {
  const HashSpec spec{3, 32 * 200, HashMode::window};
  for (const uint32_t i0 : {0u, 64u, 192u}) {
    for (const uint32_t j0 : {0u, 128u, 640u}) {
      std::vector<bool> strata(200);
      for (uint32_t i = i0; i < i0 + 64; ++i) {
        for (uint32_t j = j0; j < j0 + 128; ++j) strata[slot_by_hand(spec, i, j) >> 6] = true;
      }
      CHECK(std::count(strata.begin(), strata.end(), true) == 64);
      int borders = 0;  // neighbouring strata, the last and the first among them: one window has two borders
      for (size_t s = 0; s < 200; ++s) borders += strata[s] != strata[(s + 1) % 200];
      CHECK(borders == 2);
    }
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
  const auto oblong = cpu::HashedMatrix::convolution(spec, 1, 2, 2, 3);  // channel, row, column
  for (int64_t c = 0; c < 2; ++c)
    for (int64_t row = 0; row < 2; ++row)
      for (int64_t column = 0; column < 3; ++column)
        CHECK(oblong.slot(0, (c * 2 + row) * 3 + column) ==
              text_slot(fmt::format("{}_{}_{}_{}", text_index(0), text_index(c), text_index(row),
                                    text_index(column)),
                        'W', static_cast<uint32_t>(spec.seed), spec.buckets));
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
  CHECK_THROWS_WITH_AS(HashedMatrix::linear({1, 80, HashMode::strat}, 10, 512),
                       "hash: 80 buckets, mode strat needs a multiple of 32", Error);
  CHECK_THROWS_AS(HashedMatrix::convolution({1, 31, HashMode::window}, 2, 2, 3, 3), Error);
  CHECK(HashedMatrix::linear_bias({1, 3, HashMode::window}, 10).slot(7, 0) ==
        HashedMatrix::linear_bias({1, 3, HashMode::full}, 10).slot(7, 0));
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

TEST_CASE(
    "modes strat and window pay for their order with coincidences only, by what docs/hashing.md states") {
  const auto measured = [](HashMode mode, uint32_t slots) {
    return quality::measure(
        [=](uint64_t seed, uint32_t n) {
          return [=](uint32_t i, uint32_t j) { return slot_by_hand({seed, n / 2, mode}, i, j); };
        },
        slots, 192, 384, 3);
  };
  const quality::Report strat = measured(HashMode::strat, 8192), window = measured(HashMode::window, 16384);
  for (const quality::Report& r : {strat, window}) {
    CHECK(r.worst_sign_bias < 4);
    CHECK(r.rank > 0.97);
  }
  CHECK(strat.occupancy < 1.2);
  CHECK(strat.row_shared < 1.2);
  CHECK(strat.column_shared < 1.2);
  CHECK(strat.row_crosstalk < 1.05);
  CHECK(strat.column_crosstalk < 1.05);
  CHECK(strat.lags < 4);
  CHECK(window.occupancy < 2.5);
  CHECK(window.row_shared < 2);
  CHECK(window.column_shared < 2.5);
  CHECK(window.row_crosstalk < 2);
  CHECK(window.column_crosstalk < 2);
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
