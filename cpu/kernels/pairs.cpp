// Products of bf16 parts: how floats are split and packed, and their tiles multiplied: by AMX, by AVX-512's
// own products of pairs, or by floats that hold bf16 numbers. See cpu/pair_kernels.h for the layout.
#include "cpu/kernels/bf16.h"
#include "cpu/pair_kernels.h"

namespace hashgrad::cpu::HASHGRAD_ISA {
namespace {

constexpr int lanes = pair_lanes;
constexpr int tile_words = 16 * 16;  // 16 indices (A) or columns (B) by 16 pairs
constexpr int part_words = 2 * tile_words;

// ---------------------------------------------------------------------------------------------- packing

/// Packs 16 indices by 16 pairs: out[part * part_words + line * stride + ...], a line being an index of A or
/// a pair of B. Where the source's neighbours are not the line's, the square is transposed.
template <int parts, bool is_a, bool by_depth>
[[gnu::always_inline]] inline void pack_square(const PairSource& s, int64_t i0, int64_t k0, uint32_t* out) {
  constexpr int stride = is_a ? lanes : pair_panel;
  const float* from = s.source + i0 * s.index_stride + k0 * s.depth_stride;
  const int64_t indices = s.count - i0, depth = s.depth - k0;
  [[maybe_unused]] Words square[parts][lanes];
#pragma GCC unroll 16
  for (int line = 0; line < lanes; ++line) {
    Floats a{}, b{};
    if constexpr (by_depth) {
      if (line < indices) a = load_first<Floats>(from + line * s.index_stride, depth);
      if (line < indices && depth > lanes)
        b = load_first<Floats>(from + line * s.index_stride + lanes, depth - lanes);
    } else {
      if (indices > 0 && 2 * line < depth) a = load_first<Floats>(from + 2 * line * s.depth_stride, indices);
      if (indices > 0 && 2 * line + 1 < depth)
        b = load_first<Floats>(from + (2 * line + 1) * s.depth_stride, indices);
    }
    split<parts, by_depth ? Pairing::along : Pairing::across>(a, b, [&](int part, Words pairs) {
      if constexpr (by_depth == is_a)
        store(out + part * part_words + line * stride, pairs);
      else
        square[part][line] = pairs;
    });
  }
  if constexpr (by_depth != is_a) {
    for (int part = 0; part < parts; ++part) {
      transpose(square[part]);
#pragma GCC unroll 16
      for (int line = 0; line < lanes; ++line)
        store(out + part * part_words + line * stride, square[part][line]);
    }
  }
}

template <int parts, bool is_a, bool by_depth>
void pack_all(const PairSource& s, uint32_t* panels) {
  constexpr int tile = is_a ? tile_words : lanes;  // from the first half of a panel to its second
  for (int64_t i = 0; i < s.count; i += pair_panel)
    for (int64_t k = 0; k < s.depth; k += pair_depth, panels += parts * part_words)
      for (int half = 0; half < 2; ++half)
        pack_square<parts, is_a, by_depth>(s, i + half * lanes, k, panels + half * tile);
}

template <int parts, bool is_a>
void pack_parts(const PairSource& s, uint32_t* panels) {
  s.depth_stride == 1 ? pack_all<parts, is_a, true>(s, panels) : pack_all<parts, is_a, false>(s, panels);
}

template <bool is_a>
void pack(const PairSource& s, uint32_t* panels) {
  (s.parts == 1 ? pack_parts<1, is_a> : s.parts == 2 ? pack_parts<2, is_a> : pack_parts<3, is_a>)(s, panels);
}

template <int parts>
void pair_planes_of(const PairPlanes& p) {
  for (int64_t y = 0; y < p.height; ++y) {
    const float *even = p.even + y * p.width, *odd = p.odd ? p.odd + y * p.width : nullptr;
    for (int64_t x = 0; x < p.width; x += lanes) {
      const Floats a = load_first<Floats>(even + x, p.width - x),
                   b = odd ? load_first<Floats>(odd + x, p.width - x) : Floats{};
      split<parts, Pairing::across>(a, b, [&](int part, Words pairs) {
        uint32_t* to = p.out + part * p.part_stride + y * p.row_stride + x;
        store_first(reinterpret_cast<float*>(to), reinterpret_cast<Floats>(pairs), p.width - x);
      });
    }
  }
}

void pair_planes(const PairPlanes& p) {
  (p.parts == 1 ? pair_planes_of<1> : p.parts == 2 ? pair_planes_of<2> : pair_planes_of<3>)(p);
}

/// The first n >= 1 halves of 16 pairs; n may exceed them.
[[gnu::always_inline]] inline void store_halves(uint16_t* to, Words pairs, int64_t n) {
#if defined(__AVX512BW__)
  const auto mask = static_cast<__mmask32>(n < 2 * lanes ? (1u << n) - 1 : ~0u);
  _mm512_mask_storeu_epi16(to, mask, reinterpret_cast<__m512i>(pairs));
#else
  for (int64_t k = 0; k < n && k < 2 * lanes; ++k)
    to[k] = static_cast<uint16_t>(pairs[k / 2] >> (k % 2 * 16));
#endif
}

template <int parts>
[[gnu::always_inline]] inline void split_floats(const float* x, int64_t n, uint16_t* out,
                                                int64_t part_stride) {
  for (int64_t i = 0; i < n; i += 2 * lanes) {
    const Floats a = load_first<Floats>(x + i, n - i),
                 b = n - i > lanes ? load_first<Floats>(x + i + lanes, n - i - lanes) : Floats{};
    split<parts, Pairing::along>(
        a, b, [&](int part, Words pairs) { store_halves(out + part * part_stride + i, pairs, n - i); });
  }
}

template <int parts>
void split_lines_of(const PairLines& l) {
  const int64_t n = l.images * l.width;
  for (int64_t y = 0; y < l.rows; ++y) {
    const float* row = l.planes + y * l.row_stride;
    if (l.images == 1) split_floats<parts>(row, n, l.out + y * n, l.part_stride);
    for (int64_t i = 0; i < l.images && l.images > 1; ++i)  // what is too much of a row, the next replaces
      for (int64_t x = 0; x < l.width; x += lanes)
        store(l.lines + y * n + i * l.width + x, load<Floats>(row + i * l.plane_stride + x));
  }
  if (l.images > 1) split_floats<parts>(l.lines, l.rows * n, l.out, l.part_stride);
}

void split_lines(const PairLines& l) {
  (l.parts == 1 ? split_lines_of<1> : l.parts == 2 ? split_lines_of<2> : split_lines_of<3>)(l);
}

/// 16 pixels, read from up to `count` rows of an image; masks and rows stay in registers.
template <int count>
struct Runs {
  explicit Runs(const PixelRuns& runs, const uint32_t* image) {
#pragma GCC unroll 4
    for (int i = 0; i < count; ++i) {
      masks[i] = runs.masks[i];
      rows[i] = image + runs.offsets[i];
    }
  }
  [[gnu::always_inline]] Words at(int64_t offset) const {
#if defined(__AVX512F__)
    __m512i x = _mm512_maskz_loadu_epi32(masks[0], rows[0] + offset);
#pragma GCC unroll 4
    for (int i = 1; i < count; ++i) x = _mm512_mask_loadu_epi32(x, masks[i], rows[i] + offset);
    return reinterpret_cast<Words>(x);
#else
    Words x{};
    for (int i = 0; i < count; ++i)
      for (int lane = 0; lane < lanes; ++lane)
        if (masks[i] >> lane & 1) x[lane] = rows[i][offset + lane];
    return x;
#endif
  }
  uint16_t masks[count];
  const uint32_t* rows[count];
};

/// One half of one part of a panel, read by at(offset of a tap); the rest of its last tile is zero.
template <class At>
[[gnu::always_inline]] inline void unfold_half(const PairUnfold& u, int part, int half, const At& at) {
  const int64_t tap_count = u.tap_count,
                step = u.parts * part_words;  // not to be read again after each store
  const int64_t* taps = u.tap_offsets;
  uint32_t* tile = u.panel + part * part_words + half * lanes;
  for (int64_t t = 0; t < tap_count; t += lanes, tile += step) {
    const int64_t end = tap_count - t < lanes ? tap_count - t : lanes;
    for (int64_t i = 0; i < end; ++i) store(tile + i * pair_panel, at(taps[t + i]));
    for (int64_t i = end; i < lanes; ++i) store(tile + i * pair_panel, Words{});
  }
}

template <int count>
void unfold_runs(const PairUnfold& u, int part, int half) {
  const Runs<count> runs(u.runs[half], u.image + part * u.part_stride);
  unfold_half(u, part, half, [&](int64_t offset) { return runs.at(offset); });
}

void unfold_singly(const PairUnfold& u, int part, int half) {
  const uint32_t* image = u.image + part * u.part_stride;
  const int64_t* pixels = u.pixel_offsets + half * lanes;
  unfold_half(u, part, half, [&](int64_t offset) {
    Words x;
    for (int lane = 0; lane < lanes; ++lane) x[lane] = image[offset + pixels[lane]];
    return x;
  });
}

void unfold(const PairUnfold& u) {
  constexpr void (*by_count[])(const PairUnfold&, int, int) = {unfold_singly, unfold_runs<1>, unfold_runs<2>,
                                                               unfold_runs<3>, unfold_runs<4>};
  for (int part = 0; part < u.parts; ++part)
    for (int half = 0; half < 2; ++half) by_count[u.runs[half].count](u, part, half);
}

void unfold_rows(const PairRows& r) {
  const int64_t* taps = r.tap_offsets;
  const int64_t depth = r.depth, tap_count = r.taps;
  uint32_t* out = r.panel;
  for (int64_t k = 0; k < depth; k += pair_depth)
    for (int part = 0; part < r.parts; ++part, out += part_words) {
      const uint16_t* from = r.halves + part * r.part_stride + k;
      for (int64_t t = 0; t < tap_count; ++t) store(out + t * lanes, load<Words>(from + taps[t]));
      for (int64_t t = tap_count; t < pair_panel; ++t) store(out + t * lanes, Words{});
    }
}

// ---------------------------------------------------------------------------------------------- multiplying

/// Parts to be multiplied, in an order in which few operands change from one to the next.
struct PartPair {
  int a, b;
};
template <int parts>
constexpr PartPair products[1] = {{0, 0}};
template <>
constexpr PartPair products<2>[3] = {{0, 1}, {0, 0}, {1, 0}};
// Three parts are to be as exact as floats, so their small products are added up apart, before the large one.
constexpr PartPair small_products[5] = {{2, 0}, {1, 0}, {1, 1}, {0, 1}, {0, 2}};
template <>
constexpr PartPair products<3>[1] = {{0, 0}};

#if defined(HASHGRAD_ISA_amx)

struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t bytes_per_row[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

/// The tile registers: 0-3 the 32 x 32 square of C, 4, 5 of A, 6, 7 of B.
void tiles(bool on) {
  static constexpr TileConfig config;  // in memory: the compiler is not told that all 64 bytes are read
  on ? _tile_loadconfig(&config) : _tile_release();
}

[[gnu::always_inline]] inline void load_a(const uint32_t* a) {
  _tile_loadd(4, a, 64);
  _tile_loadd(5, a + tile_words, 64);
}
[[gnu::always_inline]] inline void load_b(const uint32_t* b) {
  _tile_loadd(6, b, 128);
  _tile_loadd(7, b + lanes, 128);
}

/// Adds the products of the given parts over `blocks` tiles of depth to the tile registers of C.
template <int parts, int count>
[[gnu::always_inline]] inline void add_products(const PartPair (&pairs)[count], int64_t blocks,
                                                const uint32_t* a, const uint32_t* b) {
  for (int64_t k = 0; k < blocks; ++k, a += parts * part_words, b += parts * part_words) {
    int a_part = -1, b_part = -1;
#pragma GCC unroll 5
    for (int i = 0; i < count; ++i) {
      if (pairs[i].a != a_part) load_a(a + pairs[i].a * part_words);
      if (pairs[i].b != b_part) load_b(b + pairs[i].b * part_words);
      a_part = pairs[i].a;
      b_part = pairs[i].b;
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
}

constexpr int64_t row_bytes = pair_panel * sizeof(float);

[[gnu::always_inline]] inline void store_square(float* sums) {
  _tile_stored(0, sums, row_bytes);
  _tile_stored(1, sums + lanes, row_bytes);
  _tile_stored(2, sums + lanes * pair_panel, row_bytes);
  _tile_stored(3, sums + lanes * pair_panel + lanes, row_bytes);
}

/// sums [32, 32] = (first ? 0 : sums) + a b over `blocks` tiles of depth.
template <int parts>
void multiply(int64_t blocks, const uint32_t* a, const uint32_t* b, int64_t /*columns*/, bool first,
              float* sums) {
  if (first || parts == 3) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  } else {
    _tile_loadd(0, sums, row_bytes);
    _tile_loadd(1, sums + lanes, row_bytes);
    _tile_loadd(2, sums + lanes * pair_panel, row_bytes);
    _tile_loadd(3, sums + lanes * pair_panel + lanes, row_bytes);
  }
  if constexpr (parts == 3) add_products<parts>(small_products, blocks, a, b);
  add_products<parts>(products<parts>, blocks, a, b);
  if (first || parts < 3) return store_square(sums);
  alignas(64) float block[pair_panel * pair_panel];
  store_square(block);
  for (int i = 0; i < pair_panel * pair_panel; ++i) sums[i] += block[i];
}

#else

void tiles(bool) {}  // nothing to set up

// Rows of C at a time, two vectors each: their sums fill half the registers of AVX-512, all of AVX2.
#if defined(__AVX512F__)
constexpr int rows_at_once = 8;
#else
constexpr int rows_at_once = 4;
#endif
template <int halves>
using Rows = Floats[rows_at_once][halves];

/// sum + even half of a * even half of b + odd half of a * odd half of b.
[[gnu::always_inline]] inline Floats add_pairs(Floats sum, Words a, Words b) {
#if defined(__AVX512BF16__)
  return reinterpret_cast<Floats>(_mm512_dpbf16_ps(
      reinterpret_cast<__m512>(sum), reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b)));
#else
  sum = add_product(sum, reinterpret_cast<Floats>(a << 16), reinterpret_cast<Floats>(b << 16));
  return add_product(sum, reinterpret_cast<Floats>(a & upper), reinterpret_cast<Floats>(b & upper));
#endif
}

/// Adds the products of two parts of one tile of depth to some rows of C.
template <int halves>
[[gnu::always_inline]] inline void add_tile(const uint32_t* a, const uint32_t* b, Rows<halves>& sums) {
  for (int p = 0; p < lanes; ++p) {
    Words row[halves];
#pragma GCC unroll 2
    for (int half = 0; half < halves; ++half) row[half] = load<Words>(b + p * pair_panel + half * lanes);
#pragma GCC unroll 8
    for (int r = 0; r < rows_at_once; ++r) {
      const Words pair = Words{} + a[r * lanes + p];
#pragma GCC unroll 2
      for (int half = 0; half < halves; ++half) sums[r][half] = add_pairs(sums[r][half], pair, row[half]);
    }
  }
}

template <int parts, int halves, int count>
[[gnu::always_inline]] inline void add_products(const PartPair (&pairs)[count], int64_t blocks,
                                                const uint32_t* a, const uint32_t* b, Rows<halves>& tile) {
  for (int64_t k = 0; k < blocks; ++k)
    for (const PartPair p : pairs)
      add_tile<halves>(a + (k * parts + p.a) * part_words, b + (k * parts + p.b) * part_words, tile);
}

template <int parts, int halves>
void multiply_halves(int64_t blocks, const uint32_t* a, const uint32_t* b, bool first, float* sums) {
  const auto each = [&](Rows<halves>& tile, const auto& body) {
    for (int r = 0; r < rows_at_once; ++r)
      for (int half = 0; half < halves; ++half) body(tile[r][half], sums + r * pair_panel + half * lanes);
  };
  for (int row = 0; row < pair_panel; row += rows_at_once, sums += rows_at_once * pair_panel) {
    Rows<halves> tile = {};
    if (!first && parts < 3) each(tile, [](Floats& x, const float* at) { x = load<Floats>(at); });
    if constexpr (parts == 3) add_products<parts, halves>(small_products, blocks, a + row * lanes, b, tile);
    add_products<parts, halves>(products<parts>, blocks, a + row * lanes, b, tile);
    if (!first && parts == 3) each(tile, [](Floats& x, const float* at) { x += load<Floats>(at); });
    each(tile, [](Floats& x, float* at) { store(at, x); });
  }
}

/// The right half of sums is left as it is where there are no more than 16 columns.
template <int parts>
void multiply(int64_t blocks, const uint32_t* a, const uint32_t* b, int64_t columns, bool first,
              float* sums) {
  (columns > lanes ? multiply_halves<parts, 2> : multiply_halves<parts, 1>)(blocks, a, b, first, sums);
}

#endif

/// Brings a finished square [32, 32] to C; i and j are its place there.
void deliver(const PairBlock& g, const float* sums, int64_t i, int64_t j) {
  const int64_t rows = g.rows - i < pair_panel ? g.rows - i : pair_panel,
                columns = g.columns - j < pair_panel ? g.columns - j : pair_panel;
  Floats column_bias[2] = {};
  const int halves = columns > lanes ? 2 : 1;
  for (int half = 0; half < halves && g.column_bias; ++half)
    column_bias[half] = load_first<Floats>(g.column_bias + j + half * lanes, columns - half * lanes);
  const Floats least = Floats{} + (g.relu ? 0 : -__builtin_inff());
  const bool whole = columns == pair_panel;
  for (int64_t r = 0; r < rows; ++r, sums += pair_panel) {
    const float row_bias = g.row_bias ? g.row_bias[i + r] : 0;
#pragma GCC unroll 2
    for (int half = 0; half < halves; ++half) {
      float* c = g.c + (i + r) * g.ldc + j + half * lanes;
      const int64_t n = columns - half * lanes;
      Floats x = load<Floats>(sums + half * lanes);
      if (g.accumulate) x += load_first<Floats>(c, n);
      x = x + row_bias + column_bias[half];
      x = x < least ? least : x;  // NaN compares false and stays
      whole ? store(c, x) : store_first(c, x, n);
    }
  }
}

/// The transpose of a square [32, 32].
void turn(const float* square, float* turned) {
  for (int i = 0; i < pair_panel; i += lanes)
    for (int j = 0; j < pair_panel; j += lanes) {
      Floats rows[lanes];
#pragma GCC unroll 16
      for (int l = 0; l < lanes; ++l) rows[l] = load<Floats>(square + (i + l) * pair_panel + j);
      transpose(rows);
#pragma GCC unroll 16
      for (int l = 0; l < lanes; ++l) store(turned + (j + l) * pair_panel + i, rows[l]);
    }
}

void deliver_turned(PairBlock g, const float* sums, int64_t i, int64_t j) {
  alignas(64) float turned[pair_panel * pair_panel];
  turn(sums, turned);
  const int64_t rows = g.rows;
  g.rows = g.columns;
  g.columns = rows;
  deliver(g, turned, j, i);
}

template <int parts>
void block_of(const PairBlock& g) {
  const int64_t depth_tiles = (g.depth + pair_depth - 1) / pair_depth,
                panel = pair_panel_words(g.depth, parts);
  const bool once = g.first && g.last;  // then one square is enough
  float* sums = g.sums;
  for (int64_t j = 0; j < g.columns; j += pair_panel)
    for (int64_t i = 0; i < g.rows; i += pair_panel, sums += once ? 0 : pair_panel * pair_panel) {
      multiply<parts>(depth_tiles, g.a + i / pair_panel * panel, g.b + j / pair_panel * panel, g.columns - j,
                      g.first, sums);
      if (g.last) g.turned ? deliver_turned(g, sums, i, j) : deliver(g, sums, i, j);
    }
}

void block(const PairBlock& g) { (g.parts == 1 ? block_of<1> : g.parts == 2 ? block_of<2> : block_of<3>)(g); }

}  // namespace

extern const PairKernels pair_kernels_table{pack<true>, pack<false>, pair_planes, split_lines,
                                            unfold,     unfold_rows, tiles,       block};

}  // namespace hashgrad::cpu::HASHGRAD_ISA
