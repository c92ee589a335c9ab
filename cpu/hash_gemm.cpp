#include "cpu/hash_gemm.h"

#include <algorithm>
#include <array>
#include <type_traits>

#include "core/parallel.h"
#include "cpu/blocking.h"
#include "cpu/for_rows.h"
#include "cpu/gemm_pairs.h"
#include "cpu/hash_kernels.h"
#include "cpu/kernels.h"
#include "cpu/scratch.h"

namespace hashgrad::cpu {
namespace {

uint32_t slot_count(const HashedMatrix& v) { return static_cast<uint32_t>(2 * v.buckets()); }

/// Slots computed at a time: they stay in L1 until they are used.
constexpr int64_t slot_chunk = 512;
using SlotBuffer = std::array<uint32_t, slot_chunk + HashTable::slack>;

/// row_bank and column_bank of 32 neighbours, and what a whole vector reads past them.
using Banks = std::array<uint32_t, bank_count + HashTable::slack>;
template <class Bank>
constexpr Banks banks(const Bank& bank) {
  Banks all{};
  for (uint32_t e = 0; e < all.size(); ++e) all[e] = bank(e);
  return all;
}
constexpr Banks row_banks = banks(row_bank), column_banks = banks(column_bank);

/// Calls f(begin, n) for the parts of [begin, end) between multiples of 32.
template <class F>
void for_each_tile(int64_t begin, int64_t end, const F& f) {
  for (int64_t next; begin < end; begin = next) {
    next = std::min(end, (begin / bank_count + 1) * bank_count);
    f(begin, next - begin);
  }
}

/// Slots of V in mode strat or window: out[d * width + l] is that of lane `first` + l and depth `k0` + d.
/// Lanes are rows and depths columns, or the other way round.
void stratified_slots(const HashedMatrix& v, bool lanes_are_columns, int64_t first, int64_t width, int64_t k0,
                      int64_t depth, uint32_t* out) {
  const Strata strata = strata_of(v.spec());
  const auto& lane_keys = lanes_are_columns ? v.column_keys() : v.row_keys();
  const auto& depth_keys = lanes_are_columns ? v.row_keys() : v.column_keys();
  const Banks &lane_banks = lanes_are_columns ? column_banks : row_banks,
              &depth_banks = lanes_are_columns ? row_banks : column_banks;
  for_each_tile(k0, k0 + depth, [&](int64_t d, int64_t d_count) {
    for_each_tile(first, first + width, [&](int64_t l, int64_t l_count) {
      const int64_t i = lanes_are_columns ? d : l, j = lanes_are_columns ? l : d;
      hash_kernels().tile_slots(
          {.lane_keys = lane_keys.data() + l,
           .lane_banks = lane_banks.data() + l % bank_count,
           .depth_keys = depth_keys.data() + d,
           .depth_banks = depth_banks.data() + d % bank_count,
           .width = l_count,
           .depth = d_count,
           .tile = tile_word(v.row_tiles()[static_cast<size_t>(i / bank_count)],
                             v.column_tiles()[static_cast<size_t>(j / bank_count)], strata),
           .strata = strata.all,
           .window_strata = strata.window,
           .out = out + (d - k0) * width + (l - first),
           .stride = width});
    });
  });
}

/// Slots of V[i, j] to V[i, j + n - 1], n <= slot_chunk; computed into the buffer unless there is a table of
/// them.
const uint32_t* row_slots(const HashedMatrix& v, int64_t i, int64_t j, int64_t n, SlotBuffer& buffer) {
  if (!v.table().empty()) return v.table().data() + i * v.columns() + j;
  if (is_stratified(v.spec().mode))
    stratified_slots(v, true, j, n, i, 1, buffer.data());
  else
    hash_kernels().slots(v.column_keys().data() + j, n, v.row_keys().data() + i, 1, slot_count(v),
                         buffer.data());
  return buffer.data();
}

/// Slots of a block [depth, width] of a packed panel, depth * width <= slot_chunk; lanes past the edge of V
/// get any valid slot.
void panel_slots(const HashedMatrix& v, bool transposed, int64_t first, int64_t width, int64_t k0,
                 int64_t depth, SlotBuffer& buffer) {
  if (is_stratified(v.spec().mode))
    return stratified_slots(v, transposed, first, width, k0, depth, buffer.data());
  if (v.table().empty()) {
    const auto& lane_keys = transposed ? v.column_keys() : v.row_keys();
    const auto& depth_keys = transposed ? v.row_keys() : v.column_keys();
    hash_kernels().slots(lane_keys.data() + first, width, depth_keys.data() + k0, depth, slot_count(v),
                         buffer.data());
    return;
  }
  const int64_t columns = v.columns(), last = (transposed ? columns : v.rows()) - 1;
  uint32_t* out = buffer.data();
  for (int64_t k = k0; k < k0 + depth; ++k) {
    for (int64_t l = first; l < first + width; ++l) {
      const int64_t index = std::min(l, last);
      *out++ = v.table()[static_cast<size_t>(transposed ? k * columns + index : index * columns + k)];
    }
  }
}

/// The sums behind every bucket gradient. The rows of V are cut into bands, each with a histogram of its own,
/// and the histograms are added in order: the result does not depend on who fills them when.
template <class T>
class BucketSums {
 public:
  /// 2 to 16 bands, by the shape alone: enough for many threads, and together at most half of V at rates up
  /// to 1/8.
  explicit BucketSums(const HashedMatrix& v)
      : v_(v),
        bands_(std::min(divide_up(v.rows(), 32),
                        std::clamp<int64_t>(v.rows() * v.columns() / (2 * v.buckets()), 2, 16))),
        histograms_(bands_ * v.buckets()) {
    parallel_for(bands_, [&](int64_t band) { std::fill(histogram(band), histogram(band + 1), T{0}); });
  }

  int64_t bands() const { return bands_; }
  int64_t band_begin(int64_t band) const { return std::min(v_.rows(), band * divide_up(v_.rows(), bands_)); }

  /// Adds the gradient of V's block of `rows` by `columns` from (row, column) on, given in rows of `stride`.
  void add(int64_t band, int64_t row, int64_t rows, int64_t column, int64_t columns, const T* values,
           int64_t stride) {
    SlotBuffer buffer;
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < columns; c += slot_chunk) {
        const int64_t n = std::min(slot_chunk, columns - c);
        const uint32_t* slots = row_slots(v_, row + r, column + c, n, buffer);
        hash_kernels().of<T>().scatter(slots, n, values + r * stride + c, histogram(band));
      }
    }
  }

  void reduce(T* dw) const {
    parallel_ranges(v_.buckets(), int64_t{1} << 14, [&](int64_t begin, int64_t end) {
      std::copy(histogram(0) + begin, histogram(0) + end, dw + begin);
      for (int64_t band = 1; band < bands_; ++band) {
        const T* addend = histogram(band);
        for (int64_t b = begin; b < end; ++b) dw[b] += addend[b];
      }
    });
  }

 private:
  T* histogram(int64_t band) const { return histograms_.data() + band * v_.buckets(); }

  const HashedMatrix& v_;
  int64_t bands_;
  Scratch<T> histograms_;  // [bands, K]
};

/// Products of two matrices that lie depth after depth, [k, rows] and [k, columns], tile by tile: in T, or in
/// bf16 parts where the calling thread wants those.
template <class T>
class TileProduct {
 public:
  explicit TileProduct(int64_t k) : k_(k), parts_(parts_wanted<T>()) {}

  /// Elements of packed rows or columns; `count` of them begin a multiple of the panels' width, 32 at most.
  int64_t size(int64_t count) const {
    return parts_ ? round_up(count, pair_panel) / pair_panel * pair_panel_words(k_, parts_) : count * k_;
  }
  void pack_rows(const T* data, int64_t stride, int64_t rows, T* panels) const {
    if (parts_) return pack_pairs(Operand::a, data, stride, rows, panels);
    pack_deep(data, stride, rows, gemm_kernels().of<T>().mr, panels);
  }
  void pack_columns(const T* data, int64_t stride, int64_t columns, T* panels) const {
    if (parts_) return pack_pairs(Operand::b, data, stride, columns, panels);
    pack_deep(data, stride, columns, gemm_kernels().of<T>().nr, panels);
  }

  /// tile[rows, columns] = the product of what pack_rows and pack_columns made.
  void multiply(int64_t rows, int64_t columns, const T* a, const T* b, T* tile) const {
    if (parts_) return multiply_pairs(rows, columns, a, b, tile);
    const GemmKernels<T>& kernel = gemm_kernels().of<T>();
    const int64_t kc = block_depth(k_), a_step = round_up(rows, kernel.mr),
                  b_step = round_up(columns, kernel.nr);
    for (int64_t k0 = 0; k0 < k_; k0 += kc)
      kernel.block({.rows = rows,
                    .columns = columns,
                    .depth = std::min(kc, k_ - k0),
                    .a = a + a_step * k0,
                    .b = b + b_step * k0,
                    .c = tile,
                    .ldc = columns,
                    .accumulate = k0 > 0});
  }

 private:
  /// Block of depth after block of depth.
  void pack_deep(const T* data, int64_t stride, int64_t count, int64_t width, T* panels) const {
    const int64_t kc = block_depth(k_);
    for (int64_t k0 = 0; k0 < k_; k0 += kc)
      pack_dense(data, int64_t{1}, stride)({0, count, k0, std::min(kc, k_ - k0), width},
                                           panels + round_up(count, width) * k0);
  }
  // Words of pairs lie in memory meant for floats: both have four bytes.
  void pack_pairs(Operand operand, const T* data, int64_t stride, int64_t count, T* panels) const {
    if constexpr (std::is_same_v<T, float>)
      pair_dense(data, 1, stride)({0, count, 0, k_, pair_panel}, parts_, operand,
                                  reinterpret_cast<uint32_t*>(panels));
  }
  void multiply_pairs(int64_t rows, int64_t columns, const T* a, const T* b, T* tile) const {
    if constexpr (std::is_same_v<T, float>) {
      const Scratch<float> square(pair_sums(pair_panel, pair_panel));
      const PairTiles tiles;
      pair_kernels().block({rows, columns, k_, parts_, reinterpret_cast<const uint32_t*>(a),
                            reinterpret_cast<const uint32_t*>(b), square.data(), true, true, tile, columns});
    }
  }

  int64_t k_;
  int parts_;
};

}  // namespace

template <class T>
Packer<T> pack_hashed(const HashedMatrix& v, const T* w, bool transposed) {
  return [&v, w, transposed](const PackBlock& block, T* panels) {
    SlotBuffer buffer;
    const int64_t width = block.width, chunk = slot_chunk / width;
    for (int64_t p = 0; p * width < block.count; ++p, panels += block.depth * width) {
      for (int64_t k = 0; k < block.depth; k += chunk) {
        const int64_t depth = std::min(chunk, block.depth - k);
        panel_slots(v, transposed, block.first + p * width, width, block.k0 + k, depth, buffer);
        hash_kernels().of<T>().gather(buffer.data(), depth * width, w, panels + k * width);
      }
      const int64_t used = std::min(width, block.count - p * width);
      if (used == width) continue;
      for (int64_t k = 0; k < block.depth; ++k)
        std::fill(panels + k * width + used, panels + (k + 1) * width, T{0});
    }
  };
}

namespace {

/// y [batch, n] = x [batch, k] V^T, or x V when `transposed`, then the epilogue.
template <class T>
void multiply_hashed(const HashedMatrix& v, const T* w, bool transposed, int64_t batch, const T* x, T* y,
                     const Epilogue<T>& epilogue) {
  const int64_t n = transposed ? v.columns() : v.rows(), k = transposed ? v.rows() : v.columns();
  const Packer<T> hashed = pack_hashed(v, w, transposed);
  if constexpr (std::is_same_v<T, float>) {
    if (const int parts = parts_wanted<T>(); parts > 0 && batch > 0)
      return gemm_pairs(parts, batch, n, k, pair_dense(x, k, 1), pair_packed(hashed), y, n, epilogue);
  }
  gemm_packed<T>(batch, n, k, pack_dense(x, k, 1), hashed, y, n, epilogue);
}

}  // namespace

template <class T>
void hashed_linear(const HashedMatrix& v, const T* w, int64_t batch, const T* x, T* y,
                   const Epilogue<T>& epilogue) {
  multiply_hashed(v, w, false, batch, x, y, epilogue);
}

template <class T>
void hashed_linear_input_gradient(const HashedMatrix& v, const T* w, int64_t batch, const T* dy, T* dx,
                                  const Epilogue<T>& epilogue) {
  multiply_hashed(v, w, true, batch, dy, dx, epilogue);
}

template <class T>
void hashed_linear_bucket_gradient(const HashedMatrix& v, int64_t batch, const T* x, const T* dy, T* dw) {
  if (batch == 0) return std::fill(dw, dw + v.buckets(), T{0});
  constexpr int64_t most_rows = 128, most_columns = slot_chunk;
  static_assert(most_columns % pair_panel == 0);
  const TileProduct<T> product(batch);
  // X is packed once for all bands, a stripe of columns at a time.
  const int64_t tile_size = product.size(most_columns);
  const int64_t fits = stripe_bytes / static_cast<int64_t>(sizeof(T)) / tile_size;
  const int64_t stripe = most_columns * std::clamp<int64_t>(fits, 1, divide_up(v.columns(), most_columns));
  const Scratch<T> packed_x(stripe / most_columns * tile_size);
  BucketSums<T> sums(v);
  for (int64_t s0 = 0; s0 < v.columns(); s0 += stripe) {
    const int64_t s_end = std::min(v.columns(), s0 + stripe);
    const auto columns_at = [&](int64_t column) { return std::min(most_columns, s_end - column); };
    const auto packed_at = [&](int64_t column) {
      return packed_x.data() + (column - s0) / most_columns * tile_size;
    };
    parallel_for(divide_up(s_end - s0, most_columns), [&](int64_t tile) {
      const int64_t column = s0 + tile * most_columns;
      product.pack_columns(x + column, v.columns(), columns_at(column), packed_at(column));
    });
    parallel_for(sums.bands(), [&](int64_t band) {
      const Scratch<T> packed_dy(product.size(most_rows + pair_panel)), tile(most_rows * most_columns);
      const int64_t end = sums.band_begin(band + 1);
      for (int64_t row = sums.band_begin(band); row < end; row += most_rows) {
        const int64_t rows = std::min(most_rows, end - row);
        product.pack_rows(dy + row, v.rows(), rows, packed_dy.data());
        for (int64_t column = s0; column < s_end; column += most_columns) {
          product.multiply(rows, columns_at(column), packed_dy.data(), packed_at(column), tile.data());
          sums.add(band, row, rows, column, columns_at(column), tile.data(), columns_at(column));
        }
      }
    });
  }
  sums.reduce(dw);
}

template <class T>
void materialise(const HashedMatrix& v, const T* w, T* dense) {
  for_rows(v.rows(), v.columns(), int64_t{1} << 14, [&](int64_t i) {
    SlotBuffer buffer;
    for (int64_t j = 0; j < v.columns(); j += slot_chunk) {
      const int64_t n = std::min(slot_chunk, v.columns() - j);
      hash_kernels().of<T>().gather(row_slots(v, i, j, n, buffer), n, w, dense + i * v.columns() + j);
    }
  });
}

template <class T>
void scatter(const HashedMatrix& v, const T* d_dense, T* dw) {
  BucketSums<T> sums(v);
  parallel_for(sums.bands(), [&](int64_t band) {
    const int64_t begin = sums.band_begin(band), rows = sums.band_begin(band + 1) - begin;
    sums.add(band, begin, rows, 0, v.columns(), d_dense + begin * v.columns(), v.columns());
  });
  sums.reduce(dw);
}

#define HASHGRAD_INSTANTIATE(T)                                                                          \
  template Packer<T> pack_hashed(const HashedMatrix&, const T*, bool);                                   \
  template void hashed_linear(const HashedMatrix&, const T*, int64_t, const T*, T*, const Epilogue<T>&); \
  template void hashed_linear_input_gradient(const HashedMatrix&, const T*, int64_t, const T*, T*,       \
                                             const Epilogue<T>&);                                        \
  template void hashed_linear_bucket_gradient(const HashedMatrix&, int64_t, const T*, const T*, T*);     \
  template void materialise(const HashedMatrix&, const T*, T*);                                          \
  template void scatter(const HashedMatrix&, const T*, T*);
HASHGRAD_INSTANTIATE(float)
HASHGRAD_INSTANTIATE(double)
#undef HASHGRAD_INSTANTIATE

}  // namespace hashgrad::cpu
