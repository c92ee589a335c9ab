// Vectors for the kernels, in GCC's vector extension: one source, as wide as the instruction set it is
// compiled for. Everything here has internal linkage on purpose: an inline function shared between the copies
// could be linked from the AVX-512 one and crash an older machine. For the same reason kernels include next
// to nothing.
#pragma once

#include <cstdint>

namespace hashgrad::cpu::HASHGRAD_ISA {
namespace {

#if defined(HASHGRAD_ISA_avx512)
constexpr int vector_bytes = 64;
#elif defined(HASHGRAD_ISA_avx2)
constexpr int vector_bytes = 32;
#else
constexpr int vector_bytes = 16;
#endif

template <class T, int bytes = vector_bytes>
struct Simd {
  static constexpr int lanes = bytes / static_cast<int>(sizeof(T));
  typedef T Vector __attribute__((vector_size(bytes)));
};
template <class T>
using Vector = typename Simd<T>::Vector;

/// Loads and stores without an alignment demand.
template <class V, class T>
[[gnu::always_inline]] inline V load(const T* p) {
  V v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
template <class V, class T>
[[gnu::always_inline]] inline void store(T* p, V v) {
  __builtin_memcpy(p, &v, sizeof v);
}

/// Transposes rows [lanes][lanes] in registers: exchanges the off-diagonal blocks of 1, 2, 4, ... lanes.
template <int lanes, int step = 1, class V>
[[gnu::always_inline]] inline void transpose(V (&rows)[lanes]) {
  if constexpr (step < lanes) {
    using Index = decltype(rows[0] < rows[0]);  // the integer vector of the same shape
    Index upper{}, lower{};
#pragma GCC unroll 16
    for (int i = 0; i < lanes; ++i) {
      const int right = i & step;
      upper[i] = right ? lanes + i - step : i;
      lower[i] = right ? lanes + i : i + step;
    }
#pragma GCC unroll 16
    for (int i = 0; i < lanes; ++i) {
      if (i & step) continue;
      const V u = rows[i], l = rows[i + step];
      rows[i] = __builtin_shuffle(u, l, upper);
      rows[i + step] = __builtin_shuffle(u, l, lower);
    }
    transpose<lanes, 2 * step>(rows);
  }
}

}  // namespace
}  // namespace hashgrad::cpu::HASHGRAD_ISA
