// Vectors for the kernels, in GCC's vector extension: one source, as wide as the instruction set it is
// compiled for. Everything here has internal linkage on purpose: an inline function shared between the copies
// could be linked from the AVX-512 one and crash an older machine. For the same reason kernels include next
// to nothing.
#pragma once

#include <cstdint>
#if defined(__FMA__)
#include <immintrin.h>
#endif

namespace hashgrad::cpu::HASHGRAD_ISA {
namespace {

// tile_rows: of a tile of a matrix product, two vectors wide. Its sums, two vectors of B and a broadcast of A
// fill the registers.
#if defined(HASHGRAD_ISA_avx512)
constexpr int vector_bytes = 64, tile_rows = 12;
#elif defined(HASHGRAD_ISA_avx2)
constexpr int vector_bytes = 32, tile_rows = 6;
#else
constexpr int vector_bytes = 16, tile_rows = 4;
#endif

template <class T, int bytes = vector_bytes>
struct Simd {
  static constexpr int lanes = bytes / static_cast<int>(sizeof(T));
  typedef T Vector __attribute__((vector_size(bytes)));
};
template <class T>
using Vector = typename Simd<T>::Vector;

template <class V, class T>
constexpr int lanes_of = static_cast<int>(sizeof(V) / sizeof(T));

#if defined(HASHGRAD_ISA_avx512)
/// Mask of the first n >= 1 lanes.
template <class Mask>
[[gnu::always_inline]] inline Mask first_lanes(int64_t n) {
  constexpr int lanes = 8 * sizeof(Mask);
  return n < lanes ? static_cast<Mask>((1u << n) - 1) : static_cast<Mask>(-1);
}
#endif

/// x in every lane.
template <class V, class T>
[[gnu::always_inline]] inline V broadcast(T x) {
  return x - V{};  // which keeps the sign of a zero
}

/// sum + a * b, rounded once where the instruction set multiplies and adds at a time. Asked for by name, and
/// -ffp-contract=off: a compiler that may choose fuses one loop and not another (GCC 14 spares a lone chain
/// of sums), and then an element's bits depend on which way led to it.
template <class V>
[[gnu::always_inline]] inline V add_product(V sum, V a, V b) {
#if !defined(__FMA__)
  return sum + a * b;
#else
  if constexpr (__is_same(V, float)) return __builtin_fmaf(a, b, sum);
  if constexpr (__is_same(V, double)) return __builtin_fma(a, b, sum);
  if constexpr (__is_same(V, Simd<float, 16>::Vector)) return _mm_fmadd_ps(a, b, sum);
  if constexpr (__is_same(V, Simd<double, 16>::Vector)) return _mm_fmadd_pd(a, b, sum);
  if constexpr (__is_same(V, Simd<float, 32>::Vector)) return _mm256_fmadd_ps(a, b, sum);
  if constexpr (__is_same(V, Simd<double, 32>::Vector)) return _mm256_fmadd_pd(a, b, sum);
#if defined(__AVX512F__)
  if constexpr (__is_same(V, Simd<float, 64>::Vector)) return _mm512_fmadd_ps(a, b, sum);
  if constexpr (__is_same(V, Simd<double, 64>::Vector)) return _mm512_fmadd_pd(a, b, sum);
#else
  if constexpr (__is_same(V, Simd<float, 64>::Vector)) {  // two registers
    using Half = Simd<float, 32>::Vector;
    struct Halves {
      Half low, high;
    };
    const Halves s = __builtin_bit_cast(Halves, sum), x = __builtin_bit_cast(Halves, a),
                 y = __builtin_bit_cast(Halves, b);
    return __builtin_bit_cast(V,
                              Halves{add_product(s.low, x.low, y.low), add_product(s.high, x.high, y.high)});
  }
#endif
#endif
}

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

/// The first n >= 1 elements only: touches no memory behind them, and loads zeros in their place. n may
/// exceed the vector. (Through memory where there are no masks: element by element the compiler takes minutes
/// over what it makes of vectors that are several registers wide.)
template <class V, class T>
[[gnu::always_inline]] inline V load_first(const T* p, int64_t n) {
#if defined(HASHGRAD_ISA_avx512)
  if constexpr (sizeof(T) == sizeof(float)) return _mm512_maskz_loadu_ps(first_lanes<__mmask16>(n), p);
  if constexpr (sizeof(T) == sizeof(double)) return _mm512_maskz_loadu_pd(first_lanes<__mmask8>(n), p);
#else
  if (n >= lanes_of<V, T>) return load<V>(p);
  T first[lanes_of<V, T>] = {};
  for (int64_t i = 0; i < n; ++i) first[i] = p[i];
  return load<V>(first);
#endif
}
template <class V, class T>
[[gnu::always_inline]] inline void store_first(T* p, V v, int64_t n) {
#if defined(HASHGRAD_ISA_avx512)
  if constexpr (sizeof(T) == sizeof(float)) _mm512_mask_storeu_ps(p, first_lanes<__mmask16>(n), v);
  if constexpr (sizeof(T) == sizeof(double)) _mm512_mask_storeu_pd(p, first_lanes<__mmask8>(n), v);
#else
  if (n >= lanes_of<V, T>) return store(p, v);
  T all[lanes_of<V, T>];
  store(all, v);
  for (int64_t i = 0; i < n; ++i) p[i] = all[i];
#endif
}

/// Which lanes of a Vector<T> are meant; the lanes from `first` on; those of x, replaced by what lies at p
/// where the mask says so.
#if defined(HASHGRAD_ISA_avx512)
template <class T>
using LaneMask = __mmask16;
template <class T>
[[gnu::always_inline]] inline LaneMask<T> lanes_from(int64_t first) {
  return static_cast<LaneMask<T>>(0xffffu << first);
}
[[gnu::always_inline]] inline Vector<float> load_where(LaneMask<float> mask, const float* p,
                                                       Vector<float> x) {
  return _mm512_mask_loadu_ps(x, mask, p);
}
[[gnu::always_inline]] inline Vector<double> load_where(LaneMask<double> mask, const double* p,
                                                        Vector<double> x) {
  return _mm512_mask_loadu_pd(x, static_cast<__mmask8>(mask), p);
}
#else
template <class T>
using LaneMask = decltype(Vector<T>{} < Vector<T>{});
template <class T>
[[gnu::always_inline]] inline LaneMask<T> lanes_from(int64_t first) {
  LaneMask<T> lane;
  for (int i = 0; i < Simd<T>::lanes; ++i) lane[i] = i;
  return lane >= static_cast<decltype(lane[0] + 0)>(first);
}
template <class Mask, class T, class V>
[[gnu::always_inline]] inline V load_where(Mask mask, const T* p, V x) {
  return mask ? load<V>(p) : x;
}
#endif

/// x[0], y[0], x[1], y[1], ...
template <class T, class V>
[[gnu::always_inline]] inline void store_interleaved(V x, V y, T* out) {
  constexpr int lanes = static_cast<int>(sizeof(V) / sizeof(T));
  decltype(V{} < V{}) low{}, high{};
#pragma GCC unroll 16
  for (int i = 0; i < lanes; ++i) {
    low[i] = i / 2 + i % 2 * lanes;
    high[i] = low[i] + lanes / 2;
  }
  store(out, __builtin_shuffle(x, y, low));
  store(out + lanes, __builtin_shuffle(x, y, high));
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
