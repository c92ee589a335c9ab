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

/// A tile that C holds in full.
template <class T>
struct Whole {
  static bool row(int) { return true; }
  static Vector<T> read(const T* p, int) { return load<Vector<T>>(p); }
  static void write(T* p, Vector<T> x, int) { store(p, x); }
};

/// A tile of which C holds the first rows and columns only.
template <class T>
struct Part {
  int64_t rows, columns;
  bool row(int r) const { return r < rows; }
  Vector<T> read(const T* p, int v) const { return load_first<Vector<T>>(p, columns - v * lanes<T>); }
  void write(T* p, Vector<T> x, int v) const { store_first(p, x, columns - v * lanes<T>); }
};

/// Applies body(vector, its row, its place in the row) to the whole tile, unrolled, so that it stays in
/// registers.
template <class T, int rows, int vectors, class Body>
[[gnu::always_inline]] inline void for_each_vector(Vector<T> (&sums)[rows][vectors], const Body& body) {
#pragma GCC unroll 12
  for (int r = 0; r < rows; ++r) {
    body(sums[r][0], r, 0);
    if constexpr (vectors == 2) body(sums[r][1], r, 1);
  }
}

/// c [rows, ldc] = epilogue(sums) where `held` says that C has the place; every element goes through the same
/// operations in the same order.
template <class T, int rows, int vectors, class Held>
[[gnu::always_inline]] inline void finish(Vector<T> (&sums)[rows][vectors], T* c, int64_t ldc,
                                          const TileEnd<T>& end, const Held& held) {
  using V = Vector<T>;
  const auto at = [&](int r, int v) { return c + r * ldc + v * lanes<T>; };
  if (end.accumulate)
    for_each_vector<T>(sums, [&](V& x, int r, int v) { x += held.row(r) ? held.read(at(r, v), v) : V{}; });
  if (end.row_bias)
    for_each_vector<T>(sums, [&](V& x, int r, int) { x += held.row(r) ? end.row_bias[r] : T{0}; });
  if (end.column_bias) {
    V bias[vectors];
    for (int v = 0; v < vectors; ++v) bias[v] = held.read(end.column_bias + v * lanes<T>, v);
    for_each_vector<T>(sums, [&](V& x, int, int v) { x += bias[v]; });
  }
  if (end.relu)  // NaN compares false and stays
    for_each_vector<T>(sums, [&](V& x, int, int) { x = x < 0 ? V{} : x; });
  for_each_vector<T>(sums, [&](V& x, int r, int v) {
    if (held.row(r)) held.write(at(r, v), x, v);
  });
}

/// sums = the first `rows` rows and `vectors` vectors of a [depth, mr] times b [depth, nr], k ascending.
template <class T, int rows, int vectors>
[[gnu::always_inline]] inline void multiply(int64_t depth, const T* a, const T* b,
                                            Vector<T> (&sums)[rows][vectors]) {
  using V = Vector<T>;
  for (int64_t k = 0; k < depth; ++k) {
    V row[vectors];
    for (int v = 0; v < vectors; ++v) row[v] = load<V>(b + v * lanes<T>);
    for_each_vector<T>(sums, [&](V& x, int r, int v) { x += a[r] * row[v]; });
    a += mr;
    b += nr<T>;
  }
}

/// A tile at an edge of C: multiplies no more thirds (for the smallest tile: halves) of its rows, and no more
/// vectors, than C has.
constexpr int row_step = mr % 3 ? mr / 2 : mr / 3;
template <class T, int rows, int vectors>
[[gnu::noinline]] void edge_tile(int64_t depth, const T* a, const T* b, T* c, int64_t ldc, TileEnd<T> end,
                                 Part<T> part) {
  if constexpr (rows > row_step)
    if (part.rows <= rows - row_step)
      return edge_tile<T, rows - row_step, vectors>(depth, a, b, c, ldc, end, part);
  if constexpr (vectors == 2)
    if (part.columns <= lanes<T>) return edge_tile<T, rows, 1>(depth, a, b, c, ldc, end, part);
  Vector<T> sums[rows][vectors] = {};
  multiply<T>(depth, a, b, sums);
  finish<T>(sums, c, ldc, end, part);
}

template <class T>
void block(const GemmBlock<T>& g) {
  for (int64_t j = 0; j < g.columns; j += nr<T>) {
    const T* b = g.b + j * g.depth;
    for (int64_t i = 0; i < g.rows; i += mr) {
      const T* a = g.a + i * g.depth;
      T* c = g.c + i * g.ldc + j;
      const TileEnd<T> end{g.row_bias ? g.row_bias + i : nullptr, g.column_bias ? g.column_bias + j : nullptr,
                           g.accumulate, g.relu};
      if (g.rows - i < mr || g.columns - j < nr<T>) {
        edge_tile<T, mr, 2>(g.depth, a, b, c, g.ldc, end, {g.rows - i, g.columns - j});
        continue;
      }
      for (int r = 0; r < mr; ++r)
        __builtin_prefetch(c + r * g.ldc + nr<T> - 1, 1);  // needed when the sums are done
      Vector<T> sums[mr][2] = {};
      multiply<T>(g.depth, a, b, sums);
      finish<T>(sums, c, g.ldc, end, Whole<T>{});
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
