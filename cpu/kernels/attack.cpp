// Steps of attacks (cpu/attack_kernels.h). Distances are in double, so a vector here has as many elements as
// one of doubles.
#include "cpu/attack_kernels.h"
#include "cpu/kernels/simd.h"
#include "cpu/tanh_pixel.h"

namespace hashgrad::cpu::HASHGRAD_ISA {
namespace {

using Wide = Vector<double>;
constexpr int lanes = Simd<double>::lanes;
template <class T>
using Some = typename Simd<T, lanes* static_cast<int>(sizeof(T))>::Vector;

/// min(max(x, low), high); NaN stays NaN.
template <class V>
[[gnu::always_inline]] inline V clamp(V x, V low, V high) {
  x = x < low ? low : x;
  return x > high ? high : x;
}

/// Writes `lanes` elements.
template <class T>
[[gnu::always_inline]] inline void ascend(T scale, double eps, const T* x, const T* gradient, const T* centre,
                                          T* out) {
  using V = Some<T>;
  using Bits = decltype(V{} < V{});
  const V g = load<V>(gradient), zero{};
  const V moved = load<V>(x) + scale * __builtin_convertvector((g < zero) - (g > zero), V);
  const Wide c = __builtin_convertvector(load<V>(centre), Wide);
  const V nearest =
      clamp(__builtin_convertvector(clamp(__builtin_convertvector(moved, Wide), c - eps, c + eps), V), zero,
            zero + 1);
  // Rounding to T may have left the ball by half a unit in the last place; of numbers from 0 on, the next
  // larger one has the next larger bits.
  const Wide off = __builtin_convertvector(nearest, Wide) - c;
  const auto back = (off > eps) - (off < -eps);  // -1: towards 0
  store(out, reinterpret_cast<V>(reinterpret_cast<Bits>(nearest) + __builtin_convertvector(back, Bits)));
}

template <class T>
void ascend_linf(int64_t n, T scale, double eps, const T* x, const T* gradient, const T* centre, T* out) {
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) ascend(scale, eps, x + i, gradient + i, centre + i, out + i);
  if (i < n) {
    T rest[4][lanes] = {};
    for (int64_t k = i; k < n; ++k) {
      rest[0][k - i] = x[k];
      rest[1][k - i] = gradient[k];
      rest[2][k - i] = centre[k];
    }
    ascend(scale, eps, rest[0], rest[1], rest[2], rest[3]);
    for (int64_t k = i; k < n; ++k) out[k] = rest[3][k - i];
  }
}

[[gnu::always_inline]] inline float root(float x) { return __builtin_sqrtf(x); }
[[gnu::always_inline]] inline double root(double x) { return __builtin_sqrt(x); }

template <class T>
void descend_tanh(int64_t n, T rate, T eps, const T* gradient, T* w, T* m, T* v, T* x) {
  constexpr T beta1 = static_cast<T>(0.9), beta2 = static_cast<T>(0.999);
  constexpr T rest1 = static_cast<T>(1 - 0.9), rest2 = static_cast<T>(1 - 0.999);
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) {
    const T g = gradient[i] * tanh_pixel(w[i]).slope;
    const T m_new = beta1 * m[i] + rest1 * g, v_new = beta2 * v[i] + rest2 * g * g;
    const T w_new = w[i] - rate * m_new / (root(v_new) + eps);
    m[i] = m_new;
    v[i] = v_new;
    w[i] = w_new;
    x[i] = tanh_pixel(w_new).x;
  }
}

template <class T>
constexpr AttackKernels<T> table{ascend_linf<T>, descend_tanh<T>};

}  // namespace

extern const PerType<AttackKernels> attack_kernels_table{table<float>, table<double>};

}  // namespace hashgrad::cpu::HASHGRAD_ISA
