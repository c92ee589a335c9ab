// The three transforms of Winograd's convolution F(2x2, 3x3): additions, and halves, which are exact. So
// their bits are the same on every instruction set.
#include "cpu/kernels/bf16.h"
#include "cpu/kernels/larger.h"
#include "cpu/kernels/pixel_reader.h"
#include "cpu/kernels/simd.h"
#include "cpu/winograd_kernels.h"

namespace hashgrad::cpu::HASHGRAD_ISA {
namespace {

using V = Vector<float>;
constexpr int width = lanes<float>, nr = 2 * width, mr = tile_rows;

/// B^T d: of four rows.
[[gnu::always_inline]] inline void combine_inputs(V a, V b, V c, V d, V (&to)[4]) {
  to[0] = a - c;
  to[1] = b + c;
  to[2] = c - b;
  to[3] = b - d;
}

/// B^T d B of the 16 inputs at these offsets: calls to(place, vector).
template <int runs, class To>
[[gnu::always_inline]] inline void transform_tile(const Reader<float, runs>& read, const int64_t* offsets,
                                                  const To& to) {
  V columns[4][4];  // [column][row]
#pragma GCC unroll 4
  for (int x = 0; x < 4; ++x)
    combine_inputs(read(offsets[x]), read(offsets[4 + x]), read(offsets[8 + x]), read(offsets[12 + x]),
                   columns[x]);
#pragma GCC unroll 4
  for (int y = 0; y < 4; ++y) {
    V row[4];
    combine_inputs(columns[0][y], columns[1][y], columns[2][y], columns[3][y], row);
#pragma GCC unroll 4
    for (int x = 0; x < 4; ++x) to(4 * y + x, row[x]);
  }
}

/// One channel after the other.
struct Singly {
  template <int runs>
  static void transform(const Unfold<float>& u, const Reader<float, runs>& read, int64_t apart, float* out) {
    for (int64_t k = 0; k < u.tap_count; k += 16, out += nr)
      transform_tile(read, u.tap_offsets + k, [&](int place, V x) { store(out + place * apart, x); });
  }
};

#if defined(HASHGRAD_ISA_avx512) && defined(__AVX512BF16__)
/// Two neighbouring channels at once, as pairs of bf16 numbers.
struct Paired {
  template <int runs>
  static void transform(const Unfold<float>& u, const Reader<float, runs>& read, int64_t apart, float* out) {
    for (int64_t k = 0; k < u.tap_count; k += 32, out += nr) {
      const auto put = [&](int place, V even, V odd) {
        store(out + place * apart, nearest<Pairing::across>(even, odd));
      };
      V even[16];
      transform_tile(read, u.tap_offsets + k, [&](int place, V x) { even[place] = x; });
      if (k + 16 < u.tap_count)
        transform_tile(read, u.tap_offsets + k + 16, [&](int place, V x) { put(place, even[place], x); });
      else
        for (int place = 0; place < 16; ++place) put(place, even[place], V{});
    }
  }
};
constexpr bool has_pairs = true;
#else
using Paired = Singly;
constexpr bool has_pairs = false;
#endif

template <class Channels>
void transform_input(const Unfold<float>& u, int64_t apart) {
  for (int64_t t = 0; t < u.pixel_count; t += width)
    for_runs<float>(u.runs, [&]<int runs>() {
      Reader<float, runs> read;
      read.aim(u.image, u.pixels[t / spacing<float>]);
      Channels::template transform<runs>(u, read, apart, u.panels + t);
    });
}

/// A^T m: of four rows.
[[gnu::always_inline]] inline void combine_products(V a, V b, V c, V d, V (&to)[2]) {
  to[0] = a + b + c;
  to[1] = b - c - d;
}

/// Where the tiles of a vector go: runs of neighbours.
struct Runs {
  int count = 0;
  int first[width + 1];
  Runs(const int64_t* places, int64_t tiles, int64_t apart) {
    for (int i = 0; i < tiles; ++i)
      if (i == 0 || places[i] != places[i - 1] + apart) first[count++] = i;
    first[count] = static_cast<int>(tiles);
  }
  bool whole() const { return count == 1 && first[1] == width; }
};

/// The outputs of a vector of tiles, y[row][column], to their two lines.
[[gnu::always_inline]] inline void scatter(const V (&y)[2][2], const Runs& runs, const int64_t* places,
                                           int64_t line, float* out) {
  float buffer[2][3 * width];  // reads of a run may pass its end
  for (int i = 0; i < 2; ++i)
    store_interleaved(y[i][0], y[i][1], runs.whole() ? out + places[0] + i * line : buffer[i]);
  if (runs.whole()) return;
  for (int r = 0; r < runs.count; ++r) {
    const int first = runs.first[r], n = 2 * (runs.first[r + 1] - first);
    for (int i = 0; i < 2; ++i) {
      float* const to = out + places[first] + i * line;
      const float* const from = buffer[i] + 2 * first;
      store_first(to, load<V>(from), n);
      if (n > width) store_first(to + width, load<V>(from + width), n - width);
    }
  }
}

/// The maxima of a vector of tiles, and which outputs they are.
[[gnu::always_inline]] inline void scatter_maxima(const V (&y)[2][2], const Runs& runs, const int64_t* places,
                                                  float* to, uint8_t* argmax) {
  typedef uint8_t Bytes __attribute__((vector_size(width)));
  V best = y[0][0];
  decltype(V{} < V{}) where{};
  keep_larger(y[0][1], decltype(where){} + 1, best, where);
  keep_larger(y[1][0], decltype(where){} + 2, best, where);
  keep_larger(y[1][1], decltype(where){} + 3, best, where);
  float values[2 * width];
  uint8_t bytes[2 * width];  // reads of a run may pass its end
  store(values, best);
  store(bytes, __builtin_convertvector(where, Bytes));
  for (int r = 0; r < runs.count; ++r) {
    const int first = runs.first[r], n = runs.first[r + 1] - first;
    store_first(to + places[first], load<V>(values + first), n);
    for (int i = 0; argmax && i < n; ++i) argmax[places[first] + i] = bytes[first + i];
  }
}

/// A^T m A of a vector of tiles, with bias and ReLU.
[[gnu::always_inline]] inline void outputs_of(const WinogradOutput& o, int64_t row, const float* products,
                                              V (&y)[2][2]) {
  V columns[4][2];
#pragma GCC unroll 4
  for (int x = 0; x < 4; ++x) {
    const auto at = [&](int r) { return load<V>(products + (4 * r + x) * o.apart); };
    combine_products(at(0), at(1), at(2), at(3), columns[x]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    combine_products(columns[0][i], columns[1][i], columns[2][i], columns[3][i], y[i]);
    for (V& v : y[i]) {
      if (o.bias) v += o.bias[row];
      if (o.relu) v = v < 0 ? V{} : v;
    }
  }
}

void transform_output(const WinogradOutput& o) {
  for (int64_t t = 0; t < o.tiles; t += width) {
    const int64_t* const places = o.places + t;
    const Runs runs(places, o.tiles - t < width ? o.tiles - t : width, o.width ? 2 : 1);
    for (int64_t r = 0; r < o.rows; ++r) {
      V y[2][2];
      outputs_of(o, r, o.products + r * o.stride + t, y);
      float* const to = o.y + r * o.plane;
      if (o.width == 0)
        scatter_maxima(y, runs, places, to, o.argmax ? o.argmax + r * o.plane : nullptr);
      else
        scatter(y, runs, places, o.width, to);
    }
  }
}

/// G g: of three rows.
[[gnu::always_inline]] inline void combine_weights(V a, V b, V c, V (&to)[4]) {
  const V outer = a + c;
  to[0] = a;
  to[1] = (outer + b) * 0.5f;
  to[2] = (outer - b) * 0.5f;
  to[3] = c;
}

void transform_weight(int64_t rows, int64_t channels, int64_t side, const WinogradQuarter& quarter,
                      const float* weight, float* panels, int64_t apart) {
  constexpr int vectors = (mr + width - 1) / width;
  for (int64_t c = 0; c < channels; ++c) {
    float g[9][vectors * width] = {};  // a lane for each row
    for (int64_t r = 0; r < rows; ++r) {
      const float* const from =
          weight + ((r * channels + c) * side + 2 * quarter.down) * side + 2 * quarter.right;
      for (int64_t y = quarter.down; y < 3; ++y)
        for (int64_t x = quarter.right; x < 3; ++x) g[3 * y + x][r] = from[y * side + x];
    }
    for (int v = 0; v < vectors; ++v) {
      const auto at = [&](int i) { return load<V>(g[i] + v * width); };
      V columns[3][4];
      for (int x = 0; x < 3; ++x) combine_weights(at(x), at(3 + x), at(6 + x), columns[x]);
      const int64_t left = mr - v * width;
      for (int y = 0; y < 4; ++y) {
        V row[4];
        combine_weights(columns[0][y], columns[1][y], columns[2][y], row);
        for (int x = 0; x < 4; ++x)
          store_first(panels + (4 * y + x) * apart + c * mr + v * width, row[x], left);
      }
    }
  }
}

// ---------------------------------------------------------------------------------------- weight gradient

/// A z: of two rows. The last of them counts negative, and so do its sums.
[[gnu::always_inline]] inline void combine_gradients(V a, V b, V (&to)[4]) {
  to[0] = a;
  to[1] = a + b;
  to[2] = a - b;
  to[3] = b;
}

/// Calls body.operator()<row, column>() for some places.
template <int row = 0, int column = -1, class Body>
[[gnu::always_inline]] inline void for_places(const WinogradPlaces& places, const Body& body) {
  if (row == places.row && column == places.column) return body.template operator()<row, column>();
  if constexpr (column < 3)
    for_places<row, column + 1>(places, body);
  else if constexpr (row < 3)
    for_places<row + 1>(places, body);
}

/// Calls to(place, vector) for the vectors of a row, or the one of a column.
template <int column, class To>
[[gnu::always_inline]] inline void deliver(const V (&row)[4], const To& to) {
  if constexpr (column >= 0) {
    to(0, row[column]);
  } else {
#pragma GCC unroll 4
    for (int x = 0; x < 4; ++x) to(x, row[x]);
  }
}

/// Calls to(place, vector) for A z A^T of a vector of tiles, at some places.
template <int row, int column, class To>
[[gnu::always_inline]] inline void transform_gradients(const WinogradGradient& g, const float* dealt,
                                                       const To& to) {
  V side[2], all[4];
#pragma GCC unroll 2
  for (int x = 0; x < 2; ++x) {
    V lines[4];
    combine_gradients(load<V>(dealt + x * g.stride), load<V>(dealt + (2 + x) * g.stride), lines);
    side[x] = lines[row];
  }
  combine_gradients(side[0], side[1], all);
  deliver<column>(all, to);
}

void transform_gradient(const WinogradGradient& g) {
  for_places(g.places, [&]<int row, int column>() {
    for (int64_t o = 0; o < g.rows; ++o)
      for (int64_t t = 0; t < g.tiles; t += width)
        transform_gradients<row, column>(g, g.dealt + o * 4 * g.stride + t, [&](int place, V x) {
          store(g.out + place * g.apart + o * g.ld + t, x);
        });
  });
}

/// Calls to(place, vector) for B^T d B of one tile, a vector of its channels, at some places.
template <int row, int column, class To>
[[gnu::always_inline]] inline void transform_pixels(const WinogradLanes& l, const float* pixels,
                                                    const To& to) {
  V columns[4], all[4];
#pragma GCC unroll 4
  for (int x = 0; x < 4; ++x) {
    V lines[4];
    const auto at = [&](int y) { return load<V>(pixels + y * l.line + x * nr); };
    combine_inputs(at(0), at(1), at(2), at(3), lines);
    columns[x] = lines[row];
  }
  combine_inputs(columns[0], columns[1], columns[2], columns[3], all);
  deliver<column>(all, to);
}

void transform_lanes(const WinogradLanes& l) {
  for_places(l.places, [&]<int row, int column>() {
    for (int64_t t = 0; t < l.count; ++t)
      for (int64_t lane = 0; lane < nr; lane += width)
        transform_pixels<row, column>(l, l.pixels + l.tiles[t] + lane, [&](int place, V x) {
          store(l.out + place * l.apart + t * nr + lane, x);
        });
  });
}

#if defined(HASHGRAD_ISA_avx512) && defined(__AVX512BF16__)
void transform_gradient_pairs(const WinogradGradient& g) {
  constexpr int64_t half = width * width, tile = 2 * half;  // words of 16 rows and of 32, by 16 pairs
  const int64_t panel = (g.tiles + 2 * width - 1) / (2 * width) * tile;
  for_places(g.places, [&]<int row, int column>() {
    for (int64_t o = 0; o < g.rows; ++o)
      for (int64_t t = 0; t < g.tiles; t += 2 * width) {
        const float* const dealt = g.dealt + o * 4 * g.stride + t;
        float* const to = g.out + o / (2 * width) * panel + t / (2 * width) * tile + o / width % 2 * half +
                          o % width * width;
        V even[4];
        transform_gradients<row, column>(g, dealt, [&](int place, V x) { even[place] = x; });
        transform_gradients<row, column>(g, dealt + width, [&](int place, V x) {
          store(to + place * g.apart, nearest<Pairing::along>(even[place], x));
        });
      }
  });
}

void transform_lanes_pairs(const WinogradLanes& l) {
  for_places(l.places, [&]<int row, int column>() {
    int64_t t = 0;
    for (; t < l.count; t += 2)
      for (int64_t lane = 0; lane < nr; lane += width) {
        V even[4], odd[4] = {};
        transform_pixels<row, column>(l, l.pixels + l.tiles[t] + lane,
                                      [&](int place, V x) { even[place] = x; });
        if (t + 1 < l.count)
          transform_pixels<row, column>(l, l.pixels + l.tiles[t + 1] + lane,
                                        [&](int place, V x) { odd[place] = x; });
#pragma GCC unroll 4
        for (int place = 0; place < (column < 0 ? 4 : 1); ++place)
          store(l.out + place * l.apart + t / 2 * nr + lane,
                nearest<Pairing::across>(even[place], odd[place]));
      }
    for (; t % (2 * width) != 0; t += 2)
      for (int place = 0; place < (column < 0 ? 4 : 1); ++place)
        for (int64_t lane = 0; lane < nr; lane += width)
          store(l.out + place * l.apart + t / 2 * nr + lane, V{});
  });
}
#else
constexpr void (*transform_gradient_pairs)(const WinogradGradient&) = nullptr;
constexpr void (*transform_lanes_pairs)(const WinogradLanes&) = nullptr;
#endif

/// G^T m: of four rows.
[[gnu::always_inline]] inline void combine_sums(V a, V b, V c, V d, V (&to)[3]) {
  const V both = (b + c) * 0.5f;
  to[0] = a + both;
  to[1] = (b - c) * 0.5f;
  to[2] = both - d;
}

void transform_sums(const WinogradSums& s) {
  constexpr int most_of_nine = width > 9 ? width : 9;
  for (int64_t lane = 0; lane < s.channels; lane += width) {
    V columns[4][3];
    for (int x = 0; x < 4; ++x) {
      V m[4];
      for (int y = 0; y < 4; ++y) {
        const float* const at = s.sums + (4 * y + x) * s.apart + lane;
        m[y] = load<V>(at);
        for (int64_t chunk = 1; chunk < s.chunks; ++chunk) m[y] += load<V>(at + chunk * s.chunk_apart);
      }
      combine_sums(m[0], m[1], m[2], m[3], columns[x]);
    }
    V g[most_of_nine] = {};
    for (int y = 0; y < 3; ++y) {
      V row[3];
      combine_sums(columns[0][y], columns[1][y], columns[2][y], columns[3][y], row);
      for (int x = 0; x < 3; ++x) g[3 * y + x] = row[x];
    }
    const int64_t left = s.channels - lane;
    float* const to = s.dweight + lane * 9;
    if constexpr (width >= 9) {
      transpose(g);
      for (int i = 0; i < width && i < left; ++i) store_first(to + i * 9, g[i], 9);
    } else {
      for (int i = 0; i < width && i < left; ++i)
        for (int x = 0; x < 9; ++x) to[i * 9 + x] = g[x][i];
    }
  }
}

}  // namespace

extern const WinogradKernels winograd_kernels_table{
    transform_input<Singly>, has_pairs ? transform_input<Paired> : nullptr,
    transform_output,        transform_weight,
    transform_gradient,      transform_gradient_pairs,
    transform_lanes,         transform_lanes_pairs,
    transform_sums};

}  // namespace hashgrad::cpu::HASHGRAD_ISA
