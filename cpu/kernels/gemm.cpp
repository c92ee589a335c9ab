// The inner matrix product. A tile of C (mr rows by nr columns) lives in registers while one panel of A and
// one of B pass through; a panel of B (20 KB) stays in L1 while all panels of A pass by.
#include "cpu/kernels.h"
#include "cpu/kernels/simd.h"

namespace hashgrad::cpu::HASHGRAD_ISA {
namespace {

constexpr int mr = tile_rows;
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
#pragma GCC unroll 27
  for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) body(sums[r][v], r, v);
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

/// A packed panel of A.
template <class T>
struct Panel {
  const T* at;
  [[gnu::always_inline]] T operator()(int r, int64_t k) const { return at[k * mr + r]; }
};

/// Rows of A where they lie, of which it has `valid`; the first one stands in for the others.
template <class T, int rows>
struct Rows {
  const T* at[rows];
  [[gnu::always_inline]] Rows(const T* a, int64_t lda, int64_t valid) {
#pragma GCC unroll 12
    for (int r = 0; r < rows; ++r) at[r] = a + (r < valid ? r * lda : 0);
  }
  [[gnu::always_inline]] T operator()(int r, int64_t k) const { return at[r][k]; }
};

/// Rows of B that are equally far apart, as in a packed panel.
template <class T>
struct EvenRows {
  const T* at;
  int64_t stride;
  [[gnu::always_inline]] Vector<T> operator()(int64_t k, int v) const {
    return load<Vector<T>>(at + k * stride + v * lanes<T>);
  }
};

/// Rows of B that lie anywhere, each in two pieces.
template <class T>
struct ScatteredRows {
  const T* at;
  const int64_t* offsets;
  int64_t second;
  [[gnu::always_inline]] Vector<T> operator()(int64_t k, int v) const {
    return load<Vector<T>>(at + offsets[k] + v * second);
  }
};

/// sums = a times the first `vectors` vectors of the rows of b, k ascending.
template <class T, int rows, int vectors, class A, class B>
[[gnu::always_inline]] inline void multiply(int64_t depth, const A& a, const B& b,
                                            Vector<T> (&sums)[rows][vectors]) {
  using V = Vector<T>;
  for (int64_t k = 0; k < depth; ++k) {
    V row[vectors];
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) row[v] = b(k, v);
    for_each_vector<T>(sums, [&](V& x, int r, int v) { x = add_product(x, broadcast<V>(a(r, k)), row[v]); });
  }
}

template <class T>
TileEnd<T> tile_end(const GemmBlock<T>& g, int64_t i, int64_t j) {
  return {g.row_bias ? g.row_bias + i : nullptr, g.column_bias ? g.column_bias + j : nullptr, g.accumulate,
          g.relu};
}

/// The tile of C at row i and column j, of which `valid` rows exist.
template <class T, int rows, int vectors, class Held>
[[gnu::always_inline]] inline void tile(const GemmBlock<T>& g, int64_t i, int64_t j, int64_t valid,
                                        const Held& held) {
  Vector<T> sums[rows][vectors] = {};
  const EvenRows<T> panel{g.b + j * g.depth, nr<T>};
  if (g.b_offsets)
    multiply<T>(g.depth, Panel<T>{g.a + i * g.depth}, ScatteredRows<T>{g.b, g.b_offsets, g.b_second}, sums);
  else if (g.lda == 0)
    multiply<T>(g.depth, Panel<T>{g.a + i * g.depth}, panel, sums);
  else
    multiply<T>(g.depth, Rows<T, rows>(g.a + i * g.lda, g.lda, valid), panel, sums);
  finish<T>(sums, g.c + i * g.ldc + j, g.ldc, tile_end(g, i, j), held);
}

/// A tile at an edge of C: multiplies no more thirds (for the smallest tile: halves) of its rows, and no more
/// vectors, than C has.
constexpr int row_step = mr % 3 ? mr / 2 : mr / 3;
template <class T, int rows, int vectors>
[[gnu::noinline]] void edge_tile(const GemmBlock<T>& g, int64_t i, int64_t j) {
  const Part<T> part{g.rows - i, g.columns - j};
  if constexpr (rows > row_step)
    if (part.rows <= rows - row_step) return edge_tile<T, rows - row_step, vectors>(g, i, j);
  if constexpr (vectors == 2)
    if (part.columns <= lanes<T>) return edge_tile<T, rows, 1>(g, i, j);
  tile<T, rows, vectors>(g, i, j, part.rows, part);
}

template <class T>
void block(const GemmBlock<T>& g) {
  for (int64_t j = 0; j < g.columns; j += nr<T>) {
    for (int64_t i = 0; i < g.rows; i += mr) {
      if (g.rows - i < mr || g.columns - j < nr<T>) {
        edge_tile<T, mr, 2>(g, i, j);
        continue;
      }
      for (int r = 0; r < mr; ++r)
        __builtin_prefetch(g.c + (i + r) * g.ldc + j + nr<T> - 1, 1);  // needed when the sums are done
      tile<T, mr, 2>(g, i, j, mr, Whole<T>{});
    }
  }
}

/// sums = a times `lanes` rows of B: squares of B are transposed in registers and used up at once.
template <class T, int rows>
[[gnu::always_inline]] inline void multiply_squares(int64_t depth, const Rows<T, rows>& a,
                                                    const T* const (&b)[lanes<T>],
                                                    Vector<T> (&sums)[rows][1]) {
  using V = Vector<T>;
  for (int64_t k = 0; k < depth; k += lanes<T>) {
    V square[lanes<T>];
    const int64_t left = depth - k;
#pragma GCC unroll 16
    for (int i = 0; i < lanes<T>; ++i)
      square[i] = left < lanes<T> ? load_first<V>(b[i] + k, left) : load<V>(b[i] + k);
    transpose(square);
#pragma GCC unroll 16
    for (int j = 0; j < lanes<T>; ++j)
      if (j < left)
        for_each_vector<T>(
            sums, [&](V& x, int r, int) { x = add_product(x, broadcast<V>(a(r, k + j)), square[j]); });
  }
}

/// Calls body.operator()<rows>() with no more rows than needed: 1, or some thirds of a tile.
template <int most = mr, class Body>
[[gnu::always_inline]] inline void for_rows(int64_t rows, const Body& body) {
  if constexpr (most > row_step) {
    if (rows <= most - row_step) return for_rows<most - row_step>(rows, body);
  } else {
    if (rows == 1) return body.template operator()<1>();
  }
  body.template operator()<most>();
}

template <class T, int rows>
[[gnu::noinline]] void few_rows_depth_tiles(const GemmBlock<T>& g) {
  const Rows<T, rows> a(g.a, g.lda, g.rows);
  for (int64_t j = 0; j < g.columns; j += lanes<T>) {
    const T* b[lanes<T>];
    for (int i = 0; i < lanes<T>; ++i) b[i] = g.b + (j + i < g.columns ? j + i : j) * g.ldb;
    Vector<T> sums[rows][1] = {};
    multiply_squares<T>(g.depth, a, b, sums);
    finish<T>(sums, g.c + j, g.ldc, tile_end(g, 0, j), Part<T>{g.rows, g.columns - j});
  }
}

template <class T>
void few_rows_depth(const GemmBlock<T>& g) {
  for_rows(g.rows, [&]<int rows>() { few_rows_depth_tiles<T, rows>(g); });
}

/// Vectors of C that so many rows sum side by side: enough chains of additions, and long reads of each row of
/// B.
constexpr int wide(int rows) { return rows == 1 ? 8 : rows <= row_step ? 4 : 2; }

template <class T, int rows>
[[gnu::noinline]] void few_rows_lanes_tiles(const GemmBlock<T>& g) {
  using V = Vector<T>;
  constexpr int vectors = wide(rows);
  const Rows<T, rows> a(g.a, g.lda, g.rows);
  int64_t j = 0;
  for (; j + vectors * lanes<T> <= g.columns; j += vectors * lanes<T>) {
    V sums[rows][vectors] = {};
    multiply<T>(g.depth, a, EvenRows<T>{g.b + j, g.ldb}, sums);
    finish<T>(sums, g.c + j, g.ldc, tile_end(g, 0, j), Part<T>{g.rows, g.columns - j});
  }
  for (; j < g.columns; j += lanes<T>) {
    V sums[rows][1] = {};
    for (int64_t k = 0; k < g.depth; ++k) {
      const V row = load_first<V>(g.b + k * g.ldb + j, g.columns - j);
      for_each_vector<T>(sums, [&](V& x, int r, int) { x = add_product(x, broadcast<V>(a(r, k)), row); });
    }
    finish<T>(sums, g.c + j, g.ldc, tile_end(g, 0, j), Part<T>{g.rows, g.columns - j});
  }
}

template <class T>
void few_rows_lanes(const GemmBlock<T>& g) {
  for_rows(g.rows, [&]<int rows>() { few_rows_lanes_tiles<T, rows>(g); });
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
constexpr GemmKernels<T> table{mr,
                               nr<T>,
                               block<T>,
                               few_rows_depth<T>,
                               few_rows_lanes<T>,
                               pack_lanes<T, mr>,
                               pack_depth<T, mr>,
                               pack_lanes<T, nr<T>>,
                               pack_depth<T, nr<T>>};

}  // namespace

extern const PerType<GemmKernels> gemm_kernels_table{table<float>, table<double>};

}  // namespace hashgrad::cpu::HASHGRAD_ISA
