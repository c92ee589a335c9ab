// How random a hash of matrix positions looks: the measures by which a function that places virtual weights
// is accepted or refused. A measure is 1 for slots drawn independently and uniformly; docs/hashing.md
// explains each.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace hashgrad::quality {

/// Slots of a matrix [rows, columns], each in [0, slots).
struct SlotMatrix {
  int rows, columns;
  uint32_t slots;
  std::vector<uint32_t> at;

  uint32_t operator()(int i, int j) const { return at[static_cast<size_t>(i * columns + j)]; }
};

template <class Hash>
SlotMatrix fill(int rows, int columns, uint32_t slots, const Hash& hash) {
  SlotMatrix s{rows, columns, slots, {}};
  for (uint32_t i = 0; i < static_cast<uint32_t>(rows); ++i) {
    for (uint32_t j = 0; j < static_cast<uint32_t>(columns); ++j) s.at.push_back(hash(i, j));
  }
  return s;
}

inline SlotMatrix transposed(const SlotMatrix& s) {
  return fill(s.columns, s.rows, s.slots,
              [&](uint32_t i, uint32_t j) { return s(static_cast<int>(j), static_cast<int>(i)); });
}

/// Chi-squared of the slot counts over its degrees of freedom.
inline double occupancy(const SlotMatrix& s) {
  std::vector<double> count(s.slots);
  for (const uint32_t slot : s.at) ++count[slot];
  const double expected = static_cast<double>(s.at.size()) / s.slots;
  double chi = 0;
  for (const double c : count) chi += (c - expected) * (c - expected) / expected;
  return chi / (s.slots - 1);
}

/// Excess of positive signs, in standard deviations.
inline double sign_bias(const SlotMatrix& s) {
  double sum = 0;
  for (const uint32_t slot : s.at) sum += slot & 1 ? -1 : 1;
  return sum / std::sqrt(static_cast<double>(s.at.size()));
}

/// Over pairs of rows: `shared` is the variance of the number of columns where both have the same slot,
/// `crosstalk` that of the sum of sign * sign' where both have the same bucket; each over its value for
/// random slots.
struct PairDispersion {
  double shared, crosstalk;
};
inline PairDispersion row_pairs(const SlotMatrix& s) {
  const double n = s.columns, p = 1.0 / s.slots;
  double shared = 0, crosstalk = 0, pairs = 0;
  for (int i = 0; i < s.rows; ++i) {
    for (int k = i + 1; k < s.rows; ++k, ++pairs) {
      const uint32_t *a = &s.at[static_cast<size_t>(i * s.columns)],
                     *b = &s.at[static_cast<size_t>(k * s.columns)];
      int same = 0, opposite = 0;
      for (int j = 0; j < s.columns; ++j) {
        same += a[j] == b[j];
        opposite += a[j] == (b[j] ^ 1);
      }
      shared += (same - n * p) * (same - n * p);
      crosstalk += (same - opposite) * (same - opposite);
    }
  }
  return {shared / pairs / (n * p * (1 - p)), crosstalk / pairs / (2 * n * p)};
}

/// Over distances d: squared excess of the number of pairs (i, j), (i, j + d) in the same slot, over its
/// expectation.
inline double row_lags(const SlotMatrix& s) {
  double sum = 0;
  const int lags = s.columns / 2;
  for (int lag = 1; lag <= lags; ++lag) {
    int same = 0;
    for (int i = 0; i < s.rows; ++i) {
      for (int j = 0; j + lag < s.columns; ++j) same += s(i, j) == s(i, j + lag);
    }
    const double expected = static_cast<double>(s.rows) * (s.columns - lag) / s.slots;
    sum += (same - expected) * (same - expected) / expected;
  }
  return sum / lags;
}

/// Participation ratio (sum of eigenvalues)^2 / (sum of squares) of V V^T, for normal bucket values: how many
/// directions the rows of V span evenly. For independent entries it is rows * columns / (rows + columns).
inline double effective_rank(const SlotMatrix& s, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> w(s.slots / 2), v;
  for (float& x : w) x = normal(random);
  for (const uint32_t slot : s.at) v.push_back(slot & 1 ? -w[slot >> 1] : w[slot >> 1]);
  double trace = 0, squares = 0;
  for (int i = 0; i < s.rows; ++i) {
    for (int k = i; k < s.rows; ++k) {
      float dot = 0;
      for (int j = 0; j < s.columns; ++j)
        dot += v[static_cast<size_t>(i * s.columns + j)] * v[static_cast<size_t>(k * s.columns + j)];
      squares += (i == k ? 1.0 : 2.0) * dot * dot;
      if (i == k) trace += dot;
    }
  }
  return trace * trace / squares;
}

/// All measures, averaged over seeds; `hash(seed, slots)` yields a function (i, j) -> slot.
struct Report {
  double occupancy = 0, worst_sign_bias = 0, row_shared = 0, row_crosstalk = 0, column_shared = 0,
         column_crosstalk = 0, lags = 0,
         rank = 0;  // rank: effective rank over that of truly random slots
};

template <class Family>
Report measure(const Family& family, uint32_t slots, int rows, int columns, int seeds) {
  Report r;
  for (int n = 0; n < seeds; ++n) {
    const auto seed = static_cast<uint32_t>(1000 + n);
    std::mt19937 random(seed);
    std::uniform_int_distribution<uint32_t> uniform(0, slots - 1);
    const SlotMatrix s = fill(rows, columns, slots, family(seed, slots));
    const SlotMatrix ideal = fill(rows, columns, slots, [&](uint32_t, uint32_t) { return uniform(random); });
    const PairDispersion by_row = row_pairs(s), by_column = row_pairs(transposed(s));
    r.occupancy += occupancy(s) / seeds;
    r.worst_sign_bias = std::max(r.worst_sign_bias, std::abs(sign_bias(s)));
    r.row_shared += by_row.shared / seeds;
    r.row_crosstalk += by_row.crosstalk / seeds;
    r.column_shared += by_column.shared / seeds;
    r.column_crosstalk += by_column.crosstalk / seeds;
    r.lags += row_lags(s) / seeds;
    r.rank += effective_rank(s, seed) / effective_rank(ideal, seed) / seeds;
  }
  return r;
}

/// The measures outside their limits, by name; empty when the hash is accepted.
inline std::vector<std::string> faults(const Report& r) {
  std::vector<std::string> out;
  const auto demand = [&](bool ok, const char* name) {
    if (!ok) out.emplace_back(name);
  };
  demand(r.occupancy < 1.2, "occupancy");
  demand(r.worst_sign_bias < 4, "sign bias");
  demand(r.row_shared < 1.2, "row pairs");
  demand(r.row_crosstalk < 1.2, "row crosstalk");
  demand(r.column_shared < 1.2, "column pairs");
  demand(r.column_crosstalk < 1.2, "column crosstalk");
  demand(r.lags < 1.2, "lags");
  demand(r.rank > 0.97, "rank");
  return out;
}

}  // namespace hashgrad::quality
