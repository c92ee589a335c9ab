// The hash behind every compressed ("hashed") layer: V[i,j] = w[bucket(i,j)] * sign(i,j) without ever storing
// V. Unsigned 32-bit arithmetic only, so every path, thread count and device computes the same V.
// docs/hashing.md states the same functions for other languages, with test vectors.
#pragma once

#include <cstdint>

namespace hashgrad {

/// Which function places the virtual weights. `full` is ours: every weight hashed on its own, fast enough to
/// be recomputed at each use. `xxhash` repeats the release of HashedNets (Chen et al., ICML 2015): text keys.
enum class HashMode { full, xxhash };

/// One hashed matrix: the seed, the number of buckets (the stored weights), the mode.
struct HashSpec {
  uint64_t seed = 0;
  int64_t buckets = 1;  // K, 1 to 2^31 - 1
  HashMode mode = HashMode::full;
};

/// lowbias32, a strong bijective mixer of 32 bits; used once per row and once per column, never per weight.
constexpr uint32_t mix32(uint32_t x) {
  x ^= x >> 16;
  x *= 0x7feb352du;
  x ^= x >> 15;
  x *= 0x846ca68bu;
  x ^= x >> 16;
  return x;
}

/// 32 bits for one index under a 64-bit seed; for a given seed and salt no two indices share a key.
constexpr uint32_t hash_key(uint64_t seed, uint32_t salt, uint32_t index) {
  const uint32_t lo = static_cast<uint32_t>(seed), hi = static_cast<uint32_t>(seed >> 32);
  return mix32(mix32(mix32(index ^ salt) + lo) ^ hi);
}

// Salts: consecutive 32-bit groups of the fractional digits of pi.
inline constexpr uint32_t row_salt = 0x243f6a88u;
inline constexpr uint32_t column_salt = 0x85a308d3u;
inline constexpr uint32_t bias_salt = 0x13198a2eu;
inline constexpr uint32_t layer_low_salt = 0x03707344u;
inline constexpr uint32_t layer_high_salt = 0xa4093822u;

/// Key of the virtual weights of output unit i, of input unit j, and of the virtual bias of output unit i (a
/// hashed bias is a matrix of one column, j = 0, whose rows have keys of their own).
constexpr uint32_t row_key(uint64_t seed, uint32_t i) { return hash_key(seed, row_salt, i); }
constexpr uint32_t column_key(uint64_t seed, uint32_t j) { return hash_key(seed, column_salt, j); }
constexpr uint32_t bias_key(uint64_t seed, uint32_t i) { return hash_key(seed, bias_salt, i); }

inline constexpr uint32_t hash_multiplier_1 = 0x9e3779b1u;
inline constexpr uint32_t hash_multiplier_2 = 0x85ebca77u;
inline constexpr int hash_shift = 15;

/// 32 mixed bits of the pair; the high bits are the good ones. The multiply after the xor is what keeps rows
/// from coinciding: with the bare xor the effective rank of V collapses.
constexpr uint32_t hash_bits(uint32_t row, uint32_t column) {
  uint32_t x = (row ^ column) * hash_multiplier_1;
  x ^= x >> hash_shift;
  return x * hash_multiplier_2;
}

/// Signed slot of the virtual weight (i, j), in [0, slots), slots = 2K: bucket = slot >> 1, negative if slot
/// & 1. The high half of a product as the range reduction: one slot's share is off by at most slots / 2^32.
constexpr uint32_t hash_slot(uint32_t row, uint32_t column, uint32_t slots) {
  return static_cast<uint32_t>((uint64_t{hash_bits(row, column)} * slots) >> 32);
}

/// Seed of the hashed layer with this index (its place in the model's spec, from 0), from the model's one
/// hash seed. Mode xxhash gives all layers the same seed, as the original release did.
constexpr uint64_t layer_seed(uint64_t hash_seed, uint32_t layer_index, HashMode mode = HashMode::full) {
  if (mode == HashMode::xxhash) return hash_seed;
  return uint64_t{hash_key(hash_seed, layer_high_salt, layer_index)} << 32 |
         hash_key(hash_seed, layer_low_salt, layer_index);
}

/// The seed of the original release, for mode xxhash (which uses the low 32 bits).
inline constexpr uint64_t xxhash_default_seed = 1691;

}  // namespace hashgrad
