// The inner matrix product. A tile of C (mr rows by nr columns) lives in registers while one panel of A and
// one of B pass through; a panel of B (20 KB) stays in L1 while all panels of A pass by.
#include "cpu/kernels.h"
#include "cpu/kernels/simd.h"

namespace hashgrad::cpu::HASHGRAD_ISA {
namespace {

// Registers: mr * 2 accumulators, 2 vectors of B, 1 broadcast of A.
#if defined(HASHGRAD_ISA_avx512)
constexpr int mr = 12;
#elif defined(HASHGRAD_ISA_avx2)
constexpr int mr = 6;
#else
constexpr int mr = 4;
#endif
template <class T>
constexpr int lanes = Simd<T>::lanes;
template <class T>
constexpr int nr = 2 * lanes<T>;

/// What the end of a tile needs to know; row and column biases already point at the tile.
template <class T>
struct TileEnd {
  const T* row_bias;
  const T* column_bias;
  bool accumulate, relu;
};

/// Applies body(vector, its row, its place in the row) to the whole tile, unrolled, so that it stays in
/// registers.
template <class T, class Body>
[[gnu::always_inline]] inline void for_each_vector(Vector<T> (&sums)[mr][2], const Body& body) {
#pragma GCC unroll 12
  for (int r = 0; r < mr; ++r) {
    body(sums[r][0], r, 0);
    body(sums[r][1], r, 1);
  }
}

/// c [mr, ldc] = epilogue(sums); every element goes through the same operations in the same order.
template <class T>
[[gnu::always_inline]] inline void finish(Vector<T> (&sums)[mr][2], T* c, int64_t ldc,
                                          const TileEnd<T>& end) {
  using V = Vector<T>;
  const auto at = [&](int r, int v) { return c + r * ldc + v * lanes<T>; };
  if (end.accumulate) for_each_vector<T>(sums, [&](V& x, int r, int v) { x += load<V>(at(r, v)); });
  if (end.row_bias) for_each_vector<T>(sums, [&](V& x, int r, int) { x += end.row_bias[r]; });
  if (end.column_bias) {
    const V bias[2] = {load<V>(end.column_bias), load<V>(end.column_bias + lanes<T>)};
    for_each_vector<T>(sums, [&](V& x, int, int v) { x += bias[v]; });
  }
  if (end.relu)  // NaN compares false and stays
    for_each_vector<T>(sums, [&](V& x, int, int) { x = x < 0 ? V{} : x; });
  for_each_vector<T>(sums, [&](V& x, int r, int v) { store(at(r, v), x); });
}

/// The end of a tile that C does not hold in full: worked out in a buffer, so that its elements get the same
/// bits. The sums come in memory, because a reference to them would keep them out of registers in the
/// caller's main path.
template <class T>
[[gnu::noinline]] void finish_edge(const T* raw, T* c, int64_t ldc, const TileEnd<T>& end, int64_t rows,
                                   int64_t columns) {
  T tile[mr * nr<T>] = {}, row_bias[mr] = {}, column_bias[nr<T>] = {};
  for (int64_t r = 0; r < rows; ++r) {
    if (end.row_bias) row_bias[r] = end.row_bias[r];
    for (int64_t j = 0; j < columns && end.accumulate; ++j) tile[r * nr<T> + j] = c[r * ldc + j];
  }
  for (int64_t j = 0; j < columns && end.column_bias; ++j) column_bias[j] = end.column_bias[j];
  Vector<T> sums[mr][2];
  for_each_vector<T>(
      sums, [&](Vector<T>& x, int r, int v) { x = load<Vector<T>>(raw + r * nr<T> + v * lanes<T>); });
  finish<T>(
      sums, tile, nr<T>,
      {end.row_bias ? row_bias : nullptr, end.column_bias ? column_bias : nullptr, end.accumulate, end.relu});
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t j = 0; j < columns; ++j) c[r * ldc + j] = tile[r * nr<T> + j];
}

/// sums = a [depth, mr] times b [depth, nr], k ascending.
template <class T>
[[gnu::always_inline]] inline void multiply(int64_t depth, const T* a, const T* b, Vector<T> (&sums)[mr][2]) {
  using V = Vector<T>;
  for (int64_t k = 0; k < depth; ++k) {
    const V b0 = load<V>(b), b1 = load<V>(b + lanes<T>);
#pragma GCC unroll 12
    for (int r = 0; r < mr; ++r) {
      sums[r][0] += a[r] * b0;
      sums[r][1] += a[r] * b1;
    }
    a += mr;
    b += nr<T>;
  }
}

template <class T>
void block(const GemmBlock<T>& g) {
  for (int64_t j = 0; j < g.columns; j += nr<T>) {
    const T* b = g.b + j * g.depth;
    for (int64_t i = 0; i < g.rows; i += mr) {
      T* c = g.c + i * g.ldc + j;
      for (int r = 0; r < mr; ++r)
        __builtin_prefetch(c + r * g.ldc + nr<T> - 1, 1);  // needed when the sums are done
      Vector<T> sums[mr][2] = {};
      multiply<T>(g.depth, g.a + i * g.depth, b, sums);
      const TileEnd<T> end{g.row_bias ? g.row_bias + i : nullptr, g.column_bias ? g.column_bias + j : nullptr,
                           g.accumulate, g.relu};
      const int64_t rows = g.rows - i < mr ? g.rows - i : mr,
                    columns = g.columns - j < nr<T> ? g.columns - j : nr<T>;
      if (rows == mr && columns == nr<T>) {
        finish<T>(sums, c, g.ldc, end);
        continue;
      }
      T raw[mr * nr<T>];
      for_each_vector<T>(sums, [&](Vector<T>& x, int r, int v) { store(raw + r * nr<T> + v * lanes<T>, x); });
      finish_edge<T>(raw, c, g.ldc, end, rows, columns);
    }
  }
}

/// Panels whose lanes lie side by side in memory: copies.
template <class T, int width>
void pack_lanes(const T* src, int64_t stride, int64_t count, int64_t depth, T* panels) {
  for (int64_t first = 0; first < count; first += width, src += width) {
    if (count - first >= width) {
      for (int64_t k = 0; k < depth; ++k, panels += width)
        __builtin_memcpy(panels, src + k * stride, width * sizeof(T));
      continue;
    }
    for (int64_t k = 0; k < depth; ++k, panels += width)
      for (int64_t i = 0; i < width; ++i) panels[i] = i < count - first ? src[k * stride + i] : T{0};
  }
}

/// Panels whose depth lies side by side in memory: transposes squares of lanes x lanes in registers.
template <class T, int width>
void pack_depth(const T* src, int64_t stride, int64_t count, int64_t depth, T* panels) {
  constexpr int square = lanes<T>;
  for (int64_t first = 0; first < count; first += width, src += width * stride, panels += width * depth) {
    const int64_t valid = count - first;
    int64_t k = 0;
    for (; k + square <= depth; k += square) {
#pragma GCC unroll 4
      for (int lane = 0; lane < width; lane += square) {
        Vector<T> rows[square];
#pragma GCC unroll 16
        for (int i = 0; i < square; ++i) {
          const bool present = lane + i < width && lane + i < valid;
          rows[i] = present ? load<Vector<T>>(src + (lane + i) * stride + k) : Vector<T>{};
        }
        transpose(rows);
        constexpr int last = width % square ? width % square : square;
        const int used = lane + square <= width ? square : last;
#pragma GCC unroll 16
        for (int i = 0; i < square; ++i) {
          T* at = panels + (k + i) * width + lane;
          if (used == square)
            store(at, rows[i]);
          else
            __builtin_memcpy(at, &rows[i], last * sizeof(T));
        }
      }
    }
    for (; k < depth; ++k)
      for (int64_t i = 0; i < width; ++i) panels[k * width + i] = i < valid ? src[i * stride + k] : T{0};
  }
}

template <class T>
constexpr GemmKernels<T> table{
    mr, nr<T>, block<T>, pack_lanes<T, mr>, pack_depth<T, mr>, pack_lanes<T, nr<T>>, pack_depth<T, nr<T>>};

}  // namespace

extern const PerType<GemmKernels> gemm_kernels_table{table<float>, table<double>};

}  // namespace hashgrad::cpu::HASHGRAD_ISA
