// The hash of core/hash.h inside kernels: where V[i,j] lives, for each mode.
#pragma once

#include "core/hash.h"
#include "cpu/hash_gemm.h"
#include "cuda/gpu.h"

namespace hashgrad::HASHGRAD_GPU {

/// A hashed matrix as kernels get it, by value.
struct VirtualMatrix {
  uint64_t seed;
  int64_t rows, columns;
  int64_t buckets;
  HashMode mode;
  bool is_bias;
  Strata strata;          // modes strat and window
  const uint32_t* table;  // mode xxhash: the slots [rows, columns], in device memory

  __host__ __device__ uint32_t slots() const { return static_cast<uint32_t>(2 * buckets); }
};

/// Of a matrix; copies its table to this device if that has not been done yet.
VirtualMatrix view_of(const cpu::HashedMatrix& v);

/// Calls f.template operator()<mode>() for this mode.
template <class F>
void with_mode(HashMode mode, const F& f) {
  switch (mode) {
    case HashMode::full:
      return f.template operator()<HashMode::full>();
    case HashMode::strat:
      return f.template operator()<HashMode::strat>();
    case HashMode::window:
      return f.template operator()<HashMode::window>();
    case HashMode::xxhash:
      return f.template operator()<HashMode::xxhash>();
  }
}

/// What is worth keeping of one row or column while it meets many others. Parts that a mode does not need are
/// not computed. In mode xxhash the key is the index.
struct Unit {
  uint32_t key, bank;
  TileKeys tile;
};

template <HashMode mode>
__device__ __forceinline__ Unit row_unit(const VirtualMatrix& v, int64_t row) {
  const uint32_t i = static_cast<uint32_t>(row);
  if constexpr (mode == HashMode::xxhash) return {i, 0, {0, 0}};
  const uint32_t key = v.is_bias ? bias_key(v.seed, i) : row_key(v.seed, i);
  if constexpr (!is_stratified(mode)) return {key, 0, {0, 0}};
  return {key, row_bank(i), row_tile_keys(v.seed, i / bank_count)};
}

template <HashMode mode>
__device__ __forceinline__ Unit column_unit(const VirtualMatrix& v, int64_t column) {
  const uint32_t j = static_cast<uint32_t>(column);
  if constexpr (mode == HashMode::xxhash) return {j, 0, {0, 0}};
  const uint32_t key = column_key(v.seed, j);
  if constexpr (!is_stratified(mode)) return {key, 0, {0, 0}};
  return {key, column_bank(j), column_tile_keys(v.seed, j / bank_count)};
}

/// The word of the tile that row and column lie in; 0 in the modes without tiles.
template <HashMode mode>
__device__ __forceinline__ uint32_t tile_of(const VirtualMatrix& v, const TileKeys& rows,
                                            const TileKeys& columns) {
  if constexpr (mode == HashMode::strat) return hash_bits(rows.mask, columns.mask) >> 27;
  if constexpr (mode == HashMode::window) return tile_word(rows, columns, v.strata);
  return 0;
}

/// Signed slot: bucket = slot >> 1, negative if slot & 1. All but mode xxhash are symmetric: `a` and `b` are
/// the keys of row and column, in any order, `bank` the xor of their banks.
template <HashMode mode>
__device__ __forceinline__ uint32_t slot_in_tile(const VirtualMatrix& v, uint32_t a, uint32_t b,
                                                 uint32_t bank, uint32_t tile) {
  if constexpr (mode == HashMode::full) return hash_slot(a, b, v.slots());
  if constexpr (mode == HashMode::window) return stratified_slot(a, b, bank, tile, v.strata);
  const uint32_t signed_stratum =
      scale_bits(hash_bits(a, b), 2 * v.strata.all);  // strat: one window, no wrapping
  return (signed_stratum >> 1) * 64 + (signed_stratum & 1) + 2 * ((bank ^ tile) & 31);
}

template <HashMode mode>
__device__ __forceinline__ uint32_t slot_of(const VirtualMatrix& v, const Unit& row, const Unit& column) {
  if constexpr (mode == HashMode::xxhash) return v.table[int64_t{row.key} * v.columns + column.key];
  return slot_in_tile<mode>(v, row.key, column.key, row.bank ^ column.bank,
                            tile_of<mode>(v, row.tile, column.tile));
}

/// The value with its sign flipped if the slot is odd: the sign bit alone, so V is exact, zeros and NaNs too.
__device__ __forceinline__ float with_sign(float value, uint32_t slot) {
  return __uint_as_float(__float_as_uint(value) ^ slot << 31);
}
__device__ __forceinline__ double with_sign(double value, uint32_t slot) {
  return __longlong_as_double(
      static_cast<long long>(static_cast<unsigned long long>(__double_as_longlong(value)) ^
                             static_cast<unsigned long long>(slot) << 63));
}

/// The value of the slot in a table [K] of any memory.
template <class T>
__device__ __forceinline__ T value_of(const T* w, uint32_t slot) {
  return with_sign(w[slot >> 1], slot);
}

}  // namespace hashgrad::HASHGRAD_GPU
