// Max pooling: a vector of outputs through all places of their windows (cpu/pool_kernels.h).
#include "cpu/kernels/simd.h"
#include "cpu/pool_kernels.h"

namespace hashgrad::cpu::HASHGRAD_ISA {
namespace {

/// Outputs [begin, begin + lanes): reads as many, whole.
template <class T, int lanes>
[[gnu::always_inline]] inline void max_of(const PoolRows<T>& rows, int64_t begin, T* y, int32_t* argmax) {
  using V = typename Simd<T, lanes* static_cast<int>(sizeof(T))>::Vector;
  using Index = decltype(V{} < V{});
  using Places = typename Simd<int32_t, lanes* static_cast<int>(sizeof(int32_t))>::Vector;
  V best = V{} - static_cast<T>(__builtin_inf());
  Places column{};
#pragma GCC unroll 16
  for (int i = 0; i < lanes; ++i) column[i] = i;
  column = (column + static_cast<int32_t>(begin)) * static_cast<int32_t>(rows.stride) + rows.first;
  Index where = __builtin_convertvector(load<Places>(argmax + begin) - column, Index);
  for (int64_t r = 0; r < rows.rows; ++r) {
    const T* row = rows.parts + r * rows.stride * rows.length + begin;
    for (int64_t q = 0, part = 0, at = 0; q < rows.kernel; ++q) {  // q = at * stride + part
      const V x = load<V>(row + part * rows.length + at);
      const Index take = (x > best) | (x != x);
      best = take ? x : best;
      where = take ? Index{} + static_cast<int32_t>(r * rows.width + q) : where;
      if (++part == rows.stride) part = 0, ++at;
    }
  }
  store(y + begin, best);
  store<Places>(argmax + begin, column + __builtin_convertvector(where, Places));
}

template <class T>
void max_row(const PoolRows<T>& rows, int64_t n, T* y, int32_t* argmax) {
  constexpr int lanes = Simd<T>::lanes;
  // The last vector overlaps the one before, with the same results; a narrower row goes one by one.
  for (int64_t i = 0; n >= lanes && i < n; i += lanes)
    max_of<T, lanes>(rows, i + lanes <= n ? i : n - lanes, y, argmax);
  for (int64_t i = 0; n < lanes && i < n; ++i) max_of<T, 1>(rows, i, y, argmax);
}

template <class T>
constexpr PoolKernels<T> table{max_row<T>};

}  // namespace

extern const PerType<PoolKernels> pool_kernels_table{table<float>, table<double>};

}  // namespace hashgrad::cpu::HASHGRAD_ISA
