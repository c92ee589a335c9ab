// How vectors of floats become vectors of pairs of bf16 numbers (cpu/pair_kernels.h).
#pragma once

#include "cpu/kernels/simd.h"
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace hashgrad::cpu::HASHGRAD_ISA {
namespace {

constexpr int pair_lanes = 16;  // of every vector here, however many registers it takes
using Floats = Simd<float, 64>::Vector;
using Words = Simd<uint32_t, 64>::Vector;

using Halves = Simd<uint16_t, 64>::Vector;
constexpr uint32_t upper = 0xffff0000u;

/// Which neighbours make a pair: those of two vectors in the same lane, or within 32 floats in a row.
enum class Pairing { across, along };

/// Pairs of bf16 numbers that stand in the upper halves of words.
template <Pairing pairing>
[[gnu::always_inline]] inline Words pair_up(Words a, Words b) {
  if constexpr (pairing == Pairing::across) return a >> 16 | (b & upper);
  Halves odd{};
#pragma GCC unroll 32
  for (int i = 0; i < 32; ++i) odd[i] = static_cast<uint16_t>(2 * i + 1);
  return reinterpret_cast<Words>(
      __builtin_shuffle(reinterpret_cast<Halves>(a), reinterpret_cast<Halves>(b), odd));
}

/// Pairs of the nearest bf16 numbers; ties to even, a NaN stays one.
template <Pairing pairing>
[[gnu::always_inline]] inline Words nearest(Floats a, Floats b) {
#if defined(__AVX512BF16__)
  const auto row =
      reinterpret_cast<Halves>(_mm512_cvtne2ps_pbh(reinterpret_cast<__m512>(b), reinterpret_cast<__m512>(a)));
  if constexpr (pairing == Pairing::along) return reinterpret_cast<Words>(row);
  Halves merge{};
#pragma GCC unroll 16
  for (int i = 0; i < pair_lanes; ++i) {
    merge[2 * i] = static_cast<uint16_t>(i);
    merge[2 * i + 1] = static_cast<uint16_t>(pair_lanes + i);
  }
  return reinterpret_cast<Words>(__builtin_shuffle(row, merge));
#else
  const auto rounded = [](Floats x) {
    const Words bits = reinterpret_cast<Words>(x);
    const Words even = bits + 0x7fffu + (bits >> 16 & 1u);
    return (bits & 0x7fffffffu) > 0x7f800000u ? Words{} + 0x7fff0000u : even;
  };
  return pair_up<pairing>(rounded(a), rounded(b));
#endif
}

/// Calls to(part, pairs) for every part. What a part leaves is exact, so that all but the last may round ties
/// as is cheapest; their NaNs come to light in the last.
template <int parts, Pairing pairing, class To>
[[gnu::always_inline]] inline void split(Floats a, Floats b, const To& to) {
#pragma GCC unroll 2
  for (int part = 0; part + 1 < parts; ++part) {
    const Words high_a = (reinterpret_cast<Words>(a) + 0x8000u) & upper,
                high_b = (reinterpret_cast<Words>(b) + 0x8000u) & upper;
    to(part, pair_up<pairing>(high_a, high_b));
    a -= reinterpret_cast<Floats>(high_a);
    b -= reinterpret_cast<Floats>(high_b);
  }
  to(parts - 1, nearest<pairing>(a, b));
}

}  // namespace
}  // namespace hashgrad::cpu::HASHGRAD_ISA
