// The hash behind every compressed ("hashed") layer: V[i,j] = w[bucket(i,j)] * sign(i,j) without ever storing
// V. Unsigned 32-bit arithmetic only, so every path, thread count and device computes the same V.
// docs/hashing.md states the same functions for other languages, with test vectors.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace hashgrad {

/// Which function places the virtual weights. `full` is ours: every weight hashed on its own, fast enough to
/// be recomputed at each use. `strat` also spreads neighbouring weights over the 32 banks of a GPU's shared
/// memory, and `window` keeps the weights of a tile within 2048 neighbouring buckets, so that tables of any
/// size are read from near memory. `xxhash` repeats the release of HashedNets (Chen et al., ICML 2015): text
/// keys.
enum class HashMode { full, xxhash, strat, window };

inline constexpr std::array<HashMode, 4> hash_modes{HashMode::full, HashMode::strat, HashMode::window,
                                                    HashMode::xxhash};

/// The name in model files and on the command line.
constexpr std::string_view name_of(HashMode mode) {
  constexpr std::string_view names[] = {"full", "xxhash", "strat", "window"};
  return names[static_cast<int>(mode)];
}

/// Whether slots come from strata of 32 buckets: K must then be a multiple of 32.
constexpr bool is_stratified(HashMode mode) { return mode == HashMode::strat || mode == HashMode::window; }

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
inline constexpr uint32_t tile_row_salt = 0x299f31d0u;
inline constexpr uint32_t tile_column_salt = 0x082efa98u;
inline constexpr uint32_t window_row_salt = 0xec4e6c89u;
inline constexpr uint32_t window_column_salt = 0x452821e6u;

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

/// 32 random bits to a number in [0, n): the high half of a product. A number's share is off by at most n /
/// 2^32.
constexpr uint32_t scale_bits(uint32_t bits, uint32_t n) {
  return static_cast<uint32_t>((uint64_t{bits} * n) >> 32);
}

/// Mode full: signed slot of the virtual weight (i, j), in [0, slots), slots = 2K: bucket = slot >> 1,
/// negative if slot & 1.
constexpr uint32_t hash_slot(uint32_t row, uint32_t column, uint32_t slots) {
  return scale_bits(hash_bits(row, column), slots);
}

// Modes strat and window. Buckets come in strata of 32, one per bank of shared memory. The position (i, j)
// alone says which bank a weight has, up to a random mask per tile of 32 x 32; the hash says which stratum,
// and the sign. So the 32 weights that a warp reads at once have 32 different banks, whether it takes a row,
// a column, or a fragment of a tensor core.

inline constexpr uint32_t bank_count = 32;       // buckets per stratum; also rows, and columns, per tile
inline constexpr uint32_t window_strata = 64;    // of 32 buckets: 2048 buckets, 4096 signed slots
inline constexpr uint32_t window_rows = 64;      // a window serves a block of so many rows
inline constexpr uint32_t window_columns = 128;  // by so many columns of V

/// The parts of a weight's bank that its row and its column give, to be xored.
constexpr uint32_t row_bank(uint32_t i) { return i & 31; }
constexpr uint32_t column_bank(uint32_t j) { return (j & 1) | (j >> 2 & 6) | (j << 2 & 24); }

/// What a tile's rows, and its columns, bring to its mask and to the place of its window.
struct TileKeys {
  uint32_t mask, window;
};
/// Keys of rows 32 * tile to 32 * tile + 31, and of as many columns.
constexpr TileKeys row_tile_keys(uint64_t seed, uint32_t tile) {
  return {hash_key(seed, tile_row_salt, tile), hash_key(seed, window_row_salt, tile / (window_rows / 32))};
}
constexpr TileKeys column_tile_keys(uint64_t seed, uint32_t tile) {
  return {hash_key(seed, tile_column_salt, tile),
          hash_key(seed, window_column_salt, tile / (window_columns / 32))};
}

/// The strata of a matrix: how many there are, and how many of them, from the first of its window on, a tile
/// uses.
struct Strata {
  uint32_t all, window;
  bool windowed;
};
/// For a spec of mode strat or window.
constexpr Strata strata_of(const HashSpec& spec) {
  const uint32_t all = static_cast<uint32_t>(spec.buckets) / bank_count;
  const bool windowed = spec.mode == HashMode::window;
  return {all, windowed && all > window_strata ? window_strata : all, windowed};
}

/// All that a tile says about its weights: first stratum of its window << 5 | mask of its banks.
constexpr uint32_t tile_word(TileKeys rows, TileKeys columns, const Strata& strata) {
  const uint32_t mask = hash_bits(rows.mask, columns.mask) >> 27;
  return strata.windowed ? scale_bits(hash_bits(rows.window, columns.window), strata.all) << 5 | mask : mask;
}

/// Modes strat and window: signed slot, read as in mode full. `bank` = row_bank ^ column_bank. Windows wrap
/// round at K.
constexpr uint32_t stratified_slot(uint32_t row, uint32_t column, uint32_t bank, uint32_t tile,
                                   const Strata& strata) {
  const uint32_t signed_stratum = scale_bits(hash_bits(row, column), 2 * strata.window);
  uint32_t stratum = (tile >> 5) + (signed_stratum >> 1);
  if (stratum >= strata.all) stratum -= strata.all;
  return 64 * stratum + 2 * ((bank ^ tile) & 31) + (signed_stratum & 1);
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
