// Gradients of a convolution through ReLU and 2x2 max pooling, one arrival at a time (cpu/pooled_kernels.h).
#include "cpu/kernels/simd.h"
#include "cpu/pooled_kernels.h"

namespace hashgrad::cpu::HASHGRAD_ISA {
namespace {

template <class T>
constexpr int lanes = Simd<T>::lanes;
/// Taps whose sums stay in registers.
constexpr int most_sums = vector_bytes == 64 ? 25 : 10;

template <class T>
int64_t list(int64_t n, const T* dy, const T* y, const uint8_t* argmax, const int32_t* origin, int32_t right,
             int32_t down, int32_t* at, T* value) {
  int64_t count = 0;
  for (int64_t i = 0; i < n; ++i) {  // no branch: whether a number gets through cannot be predicted
    at[count] = origin[i] + (argmax[i] & 1) * right + (argmax[i] >> 1) * down;
    value[count] = dy[i];
    count += y[i] > 0;
  }
  return count;
}

#if defined(HASHGRAD_ISA_avx512)
template <>
int64_t list<float>(int64_t n, const float* dy, const float* y, const uint8_t* argmax, const int32_t* origin,
                    int32_t right, int32_t down, int32_t* at, float* value) {
  int64_t count = 0;
  for (int64_t i = 0; i < n; i += 16) {
    const auto inside = first_lanes<__mmask16>(n - i);
    const __m512i place = _mm512_maskz_cvtepu8_epi32(inside, _mm_maskz_loadu_epi8(inside, argmax + i));
    __m512i where = _mm512_maskz_loadu_epi32(inside, origin + i);
    where = _mm512_mask_add_epi32(where, _mm512_test_epi32_mask(place, _mm512_set1_epi32(1)), where,
                                  _mm512_set1_epi32(right));
    where = _mm512_mask_add_epi32(where, _mm512_test_epi32_mask(place, _mm512_set1_epi32(2)), where,
                                  _mm512_set1_epi32(down));
    const __m512 output = _mm512_maskz_loadu_ps(inside, y + i);
    const __mmask16 through = _mm512_cmp_ps_mask(output, _mm512_setzero_ps(), _CMP_GT_OQ);
    const __m512 gradient = _mm512_maskz_loadu_ps(inside, dy + i);
    _mm512_storeu_si512(at + count, _mm512_maskz_compress_epi32(through, where));
    _mm512_storeu_ps(value + count, _mm512_maskz_compress_ps(through, gradient));
    count += __builtin_popcount(through);
  }
  return count;
}
#endif

/// body(row, column) for each tap of some rows of a kernel, unrolled, so that a vector for each stays in
/// registers.
template <int rows, int side, class Body>
[[gnu::always_inline]] inline void for_taps(const Body& body) {
#pragma GCC unroll 5
  for (int r = 0; r < rows; ++r)
#pragma GCC unroll 5
    for (int q = 0; q < side; ++q) body(r, q);
}

/// All taps of an arrival before the next one, whether their weights fit the registers or not: the order in
/// which a pixel of the plane is added to is part of the result.
template <class T, int side>
void scatter_all(const Arrivals<T>& arrivals, const T* weight, T* plane, int64_t row) {
  using V = Vector<T>;
  V w[side][side];
  for_taps<side, side>([&](int r, int q) { w[r][q] = load<V>(weight + (r * side + q) * lanes<T>); });
  for (int64_t i = 0; i < arrivals.count; ++i) {
    T* to = plane + arrivals.at[i];
    const V value = V{} + arrivals.value[i];
    for_taps<side, side>([&](int r, int q) {
      T* p = to + r * row + q * lanes<T>;
      store(p, add_product(load<V>(p), value, w[r][q]));
    });
  }
}

/// `rows` rows of the kernel from row r0 on.
template <class T, int side, int rows>
void gather_rows(int r0, const Arrivals<T>& arrivals, const T* plane, int64_t row, T* sums) {
  using V = Vector<T>;
  V sum[rows][side];
  const auto place = [=](int r, int q) { return sums + ((r0 + r) * side + q) * lanes<T>; };
  for_taps<rows, side>([&](int r, int q) { sum[r][q] = load<V>(place(r, q)); });
  for (int64_t i = 0; i < arrivals.count; ++i) {
    const T* from = plane + r0 * row + arrivals.at[i];
    const V value = V{} + arrivals.value[i];
    for_taps<rows, side>([&](int r, int q) {
      sum[r][q] = add_product(sum[r][q], value, load<V>(from + r * row + q * lanes<T>));
    });
  }
  for_taps<rows, side>([&](int r, int q) { store(place(r, q), sum[r][q]); });
}

template <class T>
void scatter(int64_t side, const Arrivals<T>& arrivals, const T* weight, T* plane, int64_t row) {
  if (side == 3)
    scatter_all<T, 3>(arrivals, weight, plane, row);
  else
    scatter_all<T, 5>(arrivals, weight, plane, row);
}

template <class T>
void gather(int64_t side, const Arrivals<T>& arrivals, const T* plane, int64_t row, T* sums) {
  if (side == 3) {
    gather_rows<T, 3, 3>(0, arrivals, plane, row, sums);
  } else if constexpr (most_sums >= 25) {
    gather_rows<T, 5, 5>(0, arrivals, plane, row, sums);
  } else {
    gather_rows<T, 5, 2>(0, arrivals, plane, row, sums);
    gather_rows<T, 5, 2>(2, arrivals, plane, row, sums);
    gather_rows<T, 5, 1>(4, arrivals, plane, row, sums);
  }
}

template <class T>
void to_lanes(int64_t n, int64_t channels, const T* planes, int64_t stride, T* pixels) {
  for (int64_t i = 0; i < n; i += lanes<T>) {
    Vector<T> square[lanes<T>] = {};
#pragma GCC unroll 16
    for (int c = 0; c < lanes<T>; ++c)
      if (c < channels) square[c] = load_first<Vector<T>>(planes + c * stride + i, n - i);
    transpose(square);
#pragma GCC unroll 16
    for (int p = 0; p < lanes<T>; ++p)
      if (i + p < n) store(pixels + (i + p) * lanes<T>, square[p]);
  }
}

template <class T>
void from_lanes(int64_t n, int64_t channels, const T* pixels, T* planes, int64_t stride) {
  for (int64_t i = 0; i < n; i += lanes<T>) {
    Vector<T> square[lanes<T>] = {};
#pragma GCC unroll 16
    for (int p = 0; p < lanes<T>; ++p)
      if (i + p < n) square[p] = load<Vector<T>>(pixels + (i + p) * lanes<T>);
    transpose(square);
#pragma GCC unroll 16
    for (int c = 0; c < lanes<T>; ++c)
      if (c < channels) store_first(planes + c * stride + i, square[c], n - i);
  }
}

template <class T>
constexpr PooledKernels<T> table{lanes<T>, list<T>, scatter<T>, gather<T>, to_lanes<T>, from_lanes<T>};

}  // namespace

extern const PerType<PooledKernels> pooled_kernels_table{table<float>, table<double>};

}  // namespace hashgrad::cpu::HASHGRAD_ISA
