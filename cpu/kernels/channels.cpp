// Sums over a plane, and what batch normalisation makes of it (cpu/channel_kernels.h).
#include "cpu/channel_kernels.h"
#include "cpu/kernels/simd.h"

namespace hashgrad::cpu::HASHGRAD_ISA {
namespace {

constexpr int parts = 16;  // interleaved sums
using Wide = Vector<double>;
constexpr int wide = Simd<double>::lanes;

/// As many elements as a vector of doubles has, made doubles.
template <class T>
[[gnu::always_inline]] inline Wide load_wide(const T* p) {
#if defined(HASHGRAD_ISA_avx512)  // GCC 12 would convert halves and put them together
  if constexpr (sizeof(T) == sizeof(float)) return _mm512_maskz_cvtps_pd(0xff, _mm256_loadu_ps(p));
#endif
  using Narrow = typename Simd<T, wide* static_cast<int>(sizeof(T))>::Vector;
  return __builtin_convertvector(load<Narrow>(p), Wide);
}

/// Sixteen interleaved sums of doubles.
struct Parts {
  Wide vectors[parts / wide];
};

/// Adds the upper half of the first 2 * half lanes to the lower, over and over.
template <int half>
[[gnu::always_inline]] inline void fold_lanes(Wide& sums) {
  if constexpr (half > 0) {
    decltype(sums < sums) upper{};
#pragma GCC unroll 8
    for (int i = 0; i < wide; ++i) upper[i] = (i + half) % wide;
    sums += __builtin_shuffle(sums, upper);
    fold_lanes<half / 2>(sums);
  }
}

/// The sum of the sixteen: halves added, over and over.
[[gnu::always_inline]] inline double fold(Parts sums) {
#pragma GCC unroll 4
  for (int half = parts / wide / 2; half > 0; half /= 2)
    for (int v = 0; v < half; ++v) sums.vectors[v] += sums.vectors[v + half];
  fold_lanes<wide / 2>(sums.vectors[0]);
  return sums.vectors[0][0];
}

/// d where the lane, in the vector number v of sixteen elements, is one of the last `count`; else 0.
[[gnu::always_inline]] inline Wide keep_last(int64_t count, int v, Wide d) {
  static constexpr int64_t keep[2 * parts] = {0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,
                                              -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};
  return load<decltype(d < d)>(keep + count + v * wide) ? d : Wide{};
}

template <class T>
T sum(int64_t n, const T* x) {
  constexpr int lanes = Simd<T>::lanes;
  Vector<T> vectors[parts / lanes] = {};
  for (int64_t i = 0; i + parts <= n; i += parts) {
#pragma GCC unroll 8
    for (int v = 0; v < parts / lanes; ++v) vectors[v] += load<Vector<T>>(x + i + v * lanes);
  }
  T total{0}, partial[parts];
  for (int64_t i = n / parts * parts; i < n; ++i) total += x[i];
  __builtin_memcpy(partial, vectors, sizeof partial);
  for (const T part : partial) total += part;
  return total;
}

/// Of sixteen pixels, the last `count`.
template <class T>
[[gnu::always_inline]] inline void add_moments(const T* x, int64_t count, double origin, Parts& sums,
                                               Parts& squares) {
#pragma GCC unroll 8
  for (int v = 0; v < parts / wide; ++v) {
    Wide d = load_wide(x + v * wide) - origin;
    if (count < parts) d = keep_last(count, v, d);
    sums.vectors[v] += d;
    squares.vectors[v] = add_product(squares.vectors[v], d, d);
  }
}

/// Of fewer than sixteen pixels.
template <class T>
void few_moments(int64_t n, const T* x, double* mean, double* spread) {
  double sum = 0, squares = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]);
  const double center = sum / static_cast<double>(n);
  for (int64_t i = 0; i < n; ++i) {
    const double d = static_cast<double>(x[i]) - center;
    squares = add_product(squares, d, d);
  }
  *mean = center;
  *spread = squares;
}

/// In one pass, on distances from the first pixel, of which the mean's is taken off at the end. The first
/// pixel is at most n variances from the mean, squared, so in double little is lost by that, never all.
template <class T>
void moments(int64_t n, const T* x, double* mean, double* spread) {
  if (n < parts) return few_moments(n, x, mean, spread);
  const double origin = static_cast<double>(x[0]), count = static_cast<double>(n);
  Parts sums{}, squares{};
  for (int64_t i = 0; i + parts <= n; i += parts) add_moments(x + i, parts, origin, sums, squares);
  if (n % parts) add_moments(x + n - parts, n % parts, origin, sums, squares);
  const double sum = fold(sums);
  *mean = origin + sum / count;
  *spread = fold(squares) - sum * sum / count;
}

/// Of sixteen pixels, the last `count`.
template <class T>
[[gnu::always_inline]] inline void add_products(const T* x, const T* dy, int64_t count, double origin,
                                                Parts& sums, Parts& totals) {
#pragma GCC unroll 8
  for (int v = 0; v < parts / wide; ++v) {
    Wide g = load_wide(dy + v * wide);
    if (count < parts) g = keep_last(count, v, g);
    sums.vectors[v] += g;
    totals.vectors[v] = add_product(totals.vectors[v], g, load_wide(x + v * wide) - origin);
  }
}

template <class T>
void products(int64_t n, const T* x, const T* dy, T center, double* sum, double* product) {
  const double origin = static_cast<double>(center);
  if (n < parts) {
    *sum = *product = 0;
    for (int64_t i = 0; i < n; ++i) {
      *sum += static_cast<double>(dy[i]);
      *product = add_product(*product, static_cast<double>(dy[i]), static_cast<double>(x[i]) - origin);
    }
    return;
  }
  Parts sums{}, totals{};
  for (int64_t i = 0; i + parts <= n; i += parts) add_products(x + i, dy + i, parts, origin, sums, totals);
  if (n % parts) add_products(x + n - parts, dy + n - parts, n % parts, origin, sums, totals);
  *sum = fold(sums);
  *product = fold(totals);
}

/// y[i] = f(a[i], b[i]) by vectors.
template <class T, class F>
[[gnu::always_inline]] inline void map(int64_t n, const T* a, const T* b, T* y, const F& f) {
  using V = Vector<T>;
  constexpr int lanes = Simd<T>::lanes;
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) store(y + i, f(load<V>(a + i), load<V>(b + i)));
  if (i < n) store_first(y + i, f(load_first<V>(a + i, n - i), load_first<V>(b + i, n - i)), n - i);
}

/// (x - center) * slope + shift: written once, so that forward and backward round alike.
template <class T>
struct Affine {
  T center, slope, shift;
  template <class V>
  [[gnu::always_inline]] V operator()(V x) const {
    return add_product(broadcast<V>(shift), x - center, broadcast<V>(slope));
  }
};

template <bool relu, class T>
void normalise_to(int64_t n, const T* x, const Affine<T>& affine, const T* added, T* y) {
  using V = Vector<T>;
  const auto result = [](V v) { return relu ? (v < V{} ? V{} : v) : v; };
  if (added)
    map(n, x, added, y, [=](V v, V a) { return result(affine(v) + a); });
  else
    map(n, x, x, y, [=](V v, V) { return result(affine(v)); });
}

template <class T>
void normalise(int64_t n, const T* x, T center, T slope, T shift, const T* added, bool relu, T* y) {
  (relu ? normalise_to<true, T> : normalise_to<false, T>)(n, x, {center, slope, shift}, added, y);
}

template <class T>
void gate(int64_t n, const T* x, const T* dy, T center, T slope, T shift, T* g) {
  using V = Vector<T>;
  const Affine<T> affine{center, slope, shift};
  if (n < parts) {  // what reads g next would wait for a masked store
    for (int64_t i = 0; i < n; ++i) g[i] = affine(x[i]) <= 0 ? T{0} : dy[i];
    return;
  }
  map(n, x, dy, g, [=](V v, V d) { return affine(v) <= V{} ? V{} : d; });
}

/// The bits of up to eight numbers.
template <class T>
[[gnu::always_inline]] inline uint8_t bits_of(int64_t n, const T* y, bool nan_passes) {
  unsigned bits = 0;
  for (int64_t i = 0; i < n; ++i)
    bits |= static_cast<unsigned>(y[i] > 0 || (nan_passes && y[i] != y[i])) << i;
  return static_cast<uint8_t>(bits);
}

template <class T>
void mark(int64_t n, const T* y, bool nan_passes, uint8_t* mask) {
  int64_t i = 0;
#if defined(HASHGRAD_ISA_avx512)
  constexpr int lanes = Simd<T>::lanes;
  for (; i + lanes <= n; i += lanes) {
    if constexpr (sizeof(T) == sizeof(float)) {
      const __m512 v = _mm512_loadu_ps(y + i), zero = _mm512_setzero_ps();
      const __mmask16 bits =
          nan_passes ? _mm512_cmp_ps_mask(v, zero, _CMP_NLE_UQ) : _mm512_cmp_ps_mask(v, zero, _CMP_GT_OQ);
      __builtin_memcpy(mask + i / 8, &bits, 2);
    } else {
      const __m512d v = _mm512_loadu_pd(y + i), zero = _mm512_setzero_pd();
      mask[i / 8] =
          nan_passes ? _mm512_cmp_pd_mask(v, zero, _CMP_NLE_UQ) : _mm512_cmp_pd_mask(v, zero, _CMP_GT_OQ);
    }
  }
#else
  for (; i + 8 <= n; i += 8) mask[i / 8] = bits_of(8, y + i, nan_passes);
#endif
  for (; i < n; i += 8) mask[i / 8] = bits_of(n - i < 8 ? n - i : 8, y + i, nan_passes);
}

template <class T>
void pass(int64_t n, const uint8_t* mask, int64_t first, const T* dy, T* g) {
  using V = Vector<T>;
  using Index = decltype(V{} < V{});
  constexpr int lanes = Simd<T>::lanes;
  const auto bits_from = [&](int64_t i) {
    uint32_t word;
    __builtin_memcpy(&word, mask + (first + i) / 8, sizeof word);
    return word >> (first + i) % 8;
  };
  if (n < parts) {  // as in gate()
    for (int64_t i = 0; i < n; ++i) g[i] = bits_from(i) & 1 ? dy[i] : T{0};
    return;
  }
  Index place{};
  for (int i = 0; i < lanes; ++i) place[i] = 1 << i;
  const auto passed = [&](int64_t i, V d) {
    return ((Index{} + static_cast<int>(bits_from(i) & 0xffff)) & place) != 0 ? d : V{};
  };
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) store(g + i, passed(i, load<V>(dy + i)));
  if (i < n) store_first(g + i, passed(i, load_first<V>(dy + i, n - i)), n - i);
}

template <class T>
void gradient(int64_t n, const T* x, const T* dy, T center, T slope, T mean_dy, T along, T* dx) {
  using V = Vector<T>;
  map(n, x, dy, dx,
      [=](V v, V g) { return slope * add_product(g - mean_dy, -(v - center), broadcast<V>(along)); });
}

template <class T>
void scale(int64_t n, const T* x, T slope, T* y) {
  map(n, x, x, y, [=](Vector<T> v, Vector<T>) { return slope * v; });
}

template <class T>
constexpr ChannelKernels<T> table{sum<T>,  moments<T>, products<T>, normalise<T>, gate<T>,
                                  mark<T>, pass<T>,    gradient<T>, scale<T>};

}  // namespace

extern const PerType<ChannelKernels> channel_kernels_table{table<float>, table<double>};

}  // namespace hashgrad::cpu::HASHGRAD_ISA
