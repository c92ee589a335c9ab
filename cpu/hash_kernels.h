// The inner loops of hashed layers, one copy per instruction set (cpu/kernels.h).
#pragma once

#include <cstdint>

#include "cpu/kernels.h"

namespace hashgrad::cpu {

template <class T>
struct HashKernels {
  /// out[n] = V at these signed slots: w[slot >> 1], sign bit flipped if slot & 1.
  void (*gather)(const uint32_t* slots, int64_t n, const T* w, T* out);
  /// histogram[slot >> 1] += slot & 1 ? -values[e] : values[e], for e = 0, 1, ... n - 1 in this order.
  void (*scatter)(const uint32_t* slots, int64_t n, const T* values, T* histogram);
};

/// Part of one 32 x 32 tile of V in mode strat or window. The banks are row_bank and column_bank of
/// core/hash.h.
struct TileSlots {
  const uint32_t *lane_keys, *lane_banks;    // [width], and readable up to HashTable::slack beyond
  const uint32_t *depth_keys, *depth_banks;  // [depth]
  int64_t width, depth;
  uint32_t tile;  // tile_word
  uint32_t strata, window_strata;
  uint32_t* out;  // [depth, width] with rows `stride` apart
  int64_t stride;
};

struct HashTable {
  /// out[d * width + lane] = hash_slot(lane_keys[lane], depth_keys[d], slots) for lane in [0, width), d in
  /// [0, depth). Works in whole vectors: reads lane_keys, and writes garbage to out, up to `slack` elements
  /// past their ends.
  void (*slots)(const uint32_t* lane_keys, int64_t width, const uint32_t* depth_keys, int64_t depth,
                uint32_t slots, uint32_t* out);
  /// out[d * stride + lane] = stratified_slot of the lane and depth; writes nothing else.
  void (*tile_slots)(const TileSlots& tile);
  HashKernels<float> for_float;
  HashKernels<double> for_double;

  static constexpr int64_t slack = 16;

  template <class T>
  const HashKernels<T>& of() const;
};
template <>
inline const HashKernels<float>& HashTable::of<float>() const {
  return for_float;
}
template <>
inline const HashKernels<double>& HashTable::of<double>() const {
  return for_double;
}

HASHGRAD_KERNEL_TABLE(HashTable, hash_kernels)

}  // namespace hashgrad::cpu
