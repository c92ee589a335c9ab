#include "cpu/gemm.h"

#include <algorithm>
#include <type_traits>

#include "core/error.h"
#include "core/parallel.h"
#include "cpu/gemm_pairs.h"
#include "cpu/kept_panels.h"
#include "cpu/kernels.h"
#include "cpu/scratch.h"

namespace hashgrad::cpu {
namespace {

/// Columns of C, in panels, up to which a product shares B and streams A where that lies in memory.
constexpr int64_t few_panels = 4;

/// Packed panels of indices from `first` on, block of depth after block of depth.
template <class T>
struct Panels {
  const T* data;
  int64_t first, padded;  // padded: how many indices a block of depth holds, filled up to whole panels
  const T* at(int64_t index, int64_t k0, int64_t depth) const {
    return data + padded * k0 + (index - first) * depth;
  }
};

/// One side of the product: an operand, its extent (rows of A or columns of B) and its panel width.
template <class T>
struct Side {
  const Packer<T>& pack;
  int64_t extent, width;
  RowsOfA<T> rows;  // read in place of panels, if there are any
  const T* kept;    // all panels, if they are there already
  bool packs() const { return !rows.data && !kept; }
  Panels<T> all() const { return {kept, 0, round_up(extent, width)}; }
};

/// Packs indices [first, first + count) of the shared operand, all depths: block of depth after block of
/// depth.
template <class T>
void pack_stripe(const Side<T>& side, int64_t first, int64_t count, int64_t k, int64_t kc, T* stripe) {
  const int64_t padded = round_up(count, side.width);
  const int64_t piece = panel_block(count, side.width, kc);
  const int64_t pieces = divide_up(count, piece);
  parallel_for_unless(is_small(0, count * k), pieces * divide_up(k, kc), [&](int64_t task) {
    const int64_t k0 = task / pieces * kc, depth = std::min(kc, k - k0), at = task % pieces * piece;
    side.pack({first + at, std::min(piece, count - at), k0, depth, side.width},
              stripe + padded * k0 + at * depth);
  });
}

/// C = 0 * anything: only the epilogue is left.
template <class T>
void empty_product(int64_t m, int64_t n, T* c, int64_t ldc, const Epilogue<T>& e) {
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      T x = e.accumulate ? c[i * ldc + j] : T{0};
      if (e.row_bias) x += e.row_bias[i];
      if (e.column_bias) x += e.column_bias[j];
      c[i * ldc + j] = e.relu && x < 0 ? T{0} : x;
    }
  }
}

void check_extents(int64_t m, int64_t n, int64_t k, int64_t ldc) {
  check(m >= 0 && n >= 0 && k >= 0 && ldc >= n, "gemm: [{}, {}] x [{}, {}] into rows of {}", m, k, k, n, ldc);
}

}  // namespace

template <class T>
void gemm_packed(int64_t m, int64_t n, int64_t k, const Packer<T>& a, const Packer<T>& b, T* c, int64_t ldc,
                 const Epilogue<T>& epilogue, const RowsOfA<T>& rows, const T* kept_b) {
  check_extents(m, n, k, ldc);
  if (m == 0 || n == 0) return;
  if (k == 0) return empty_product(m, n, c, ldc, epilogue);

  // The smaller operand is packed once and shared; tasks stream blocks of the larger one past it. Rows of A
  // are not packed at all, and streamed where each would meet few panels of B.
  const GemmKernels<T>& kernel = gemm_kernels().of<T>();
  const bool share_a = m <= n && !(rows.data && n <= few_panels * kernel.nr);
  const bool serial = is_small(m * n * k, m * k + k * n);
  const Side<T> side_a{a, m, kernel.mr, rows, nullptr}, side_b{b, n, kernel.nr, {}, kept_b};
  const Side<T>&shared = share_a ? side_a : side_b, &streamed = share_a ? side_b : side_a;
  const int64_t kc = block_depth(k);
  const int64_t stripe_panels = stripe_bytes / static_cast<int64_t>(sizeof(T)) / (k * shared.width);
  const int64_t stripe =
      std::min(round_up(shared.extent, shared.width), shared.width * std::max<int64_t>(16, stripe_panels));
  const int64_t step = panel_block(streamed.extent, streamed.width, kc, streamed.rows.data ? 32 : 8);
  const Scratch<T> shared_panels(shared.packs() ? stripe * k : 0);

  for (int64_t s0 = 0; s0 < shared.extent; s0 += stripe) {
    const int64_t s_count = std::min(stripe, shared.extent - s0);
    if (shared.packs()) pack_stripe(shared, s0, s_count, k, kc, shared_panels.data());
    const Panels<T> ready =
        shared.kept ? shared.all() : Panels<T>{shared_panels.data(), s0, round_up(s_count, shared.width)};
    const int64_t chunk =
        panel_block(s_count, shared.width, kc);  // meets a streamed block while both are in L2
    parallel_for_unless(serial, divide_up(streamed.extent, step), [&](int64_t task) {
      const int64_t t0 = task * step, t_count = std::min(step, streamed.extent - t0);
      const Scratch<T> panels(streamed.packs() ? round_up(t_count, streamed.width) * kc : 0);
      for (int64_t k0 = 0; k0 < k; k0 += kc) {
        const int64_t depth = std::min(kc, k - k0);
        const bool last = k0 + depth == k;
        if (streamed.packs()) streamed.pack({t0, t_count, k0, depth, streamed.width}, panels.data());
        const T* passing = streamed.kept ? streamed.all().at(t0, k0, depth) : panels.data();
        for (int64_t c0 = 0; c0 < s_count; c0 += chunk) {
          const int64_t c_count = std::min(chunk, s_count - c0);
          const T* packed = ready.at(s0 + c0, k0, depth);
          const int64_t i = share_a ? s0 + c0 : t0, j = share_a ? t0 : s0 + c0;
          const T *packed_a = share_a ? packed : passing,
                  *rows_a = rows.data ? rows.data + i * rows.stride + k0 : nullptr;
          kernel.block({share_a ? c_count : t_count, share_a ? t_count : c_count, depth,
                        rows_a ? rows_a : packed_a, share_a ? passing : packed, c + i * ldc + j, ldc,
                        last && epilogue.row_bias ? epilogue.row_bias + i : nullptr,
                        last && epilogue.column_bias ? epilogue.column_bias + j : nullptr,
                        k0 > 0 || epilogue.accumulate, last && epilogue.relu, rows.data ? rows.stride : 0});
        }
      }
    });
  }
}

template <class T>
Packer<T> pack_dense(const T* data, int64_t index_stride, int64_t depth_stride) {
  return [=](const PackBlock& block, T* panels) {
    const GemmKernels<T>& kernel = gemm_kernels().of<T>();
    const bool is_a = block.width == kernel.mr;
    const T* src = data + block.first * index_stride + block.k0 * depth_stride;
    if (index_stride == 1)
      (is_a ? kernel.pack_a_lanes : kernel.pack_b_lanes)(src, depth_stride, block.count, block.depth, panels);
    else
      (is_a ? kernel.pack_a_depth : kernel.pack_b_depth)(src, index_stride, block.count, block.depth, panels);
  };
}

namespace {

/// A product of at most mr rows: a number of B is used so few times that packing it would be most of the
/// work.
template <class T>
void gemm_few_rows(bool trans_b, int64_t m, int64_t n, int64_t k, const T* a, int64_t lda, const T* b,
                   int64_t ldb, T* c, int64_t ldc, const Epilogue<T>& e) {
  const GemmKernels<T>& kernel = gemm_kernels().of<T>();
  const int64_t kc = block_depth(k), step = trans_b ? kernel.nr : 4 * kernel.nr;
  parallel_for_unless(is_small(m * n * k, n * k), divide_up(n, step), [&](int64_t task) {
    const int64_t j = task * step;
    for (int64_t k0 = 0; k0 < k; k0 += kc) {
      const bool last = k0 + kc >= k;
      (trans_b ? kernel.few_rows_depth : kernel.few_rows_lanes)(
          {m, std::min(step, n - j), std::min(kc, k - k0), a + k0,
           trans_b ? b + j * ldb + k0 : b + k0 * ldb + j, c + j, ldc, last ? e.row_bias : nullptr,
           last && e.column_bias ? e.column_bias + j : nullptr, k0 > 0 || e.accumulate, last && e.relu, lda,
           ldb});
    }
  });
}

/// All panels of B if it is kept, null if not.
template <class T>
const T* kept_panels(const PackedUse& use, const Packer<T>& pack) {
  if (use.n == 0 || use.k == 0) return nullptr;
  const int64_t width = gemm_kernels().of<T>().nr;
  const size_t bytes = static_cast<size_t>(round_up(use.n, width) * use.k) * sizeof(T);
  const KeepPanels::Found found = KeepPanels::find(use, bytes);
  T* panels = static_cast<T*>(found.panels);
  if (found.empty)
    pack_stripe<T>({pack, use.n, width, {}, nullptr}, 0, use.n, use.k, block_depth(use.k), panels);
  return panels;
}

}  // namespace

template <class T>
void gemm(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, const T* a, int64_t lda, const T* b,
          int64_t ldb, T* c, int64_t ldc, const Epilogue<T>& epilogue) {
  check(lda >= (trans_a ? m : k) && ldb >= (trans_b ? k : n),
        "gemm: rows of {} and {} elements are too short for [{}, {}] x [{}, {}]", lda, ldb, m, k, k, n);
  check_extents(m, n, k, ldc);
  if constexpr (std::is_same_v<T, float>) {
    const int parts = parts_wanted<T>();
    if (parts > 0 && m > 0 && n > 0 && k > 0)
      return gemm_pairs(parts, m, n, k, trans_a ? pair_dense(a, 1, lda) : pair_dense(a, lda, 1),
                        trans_b ? pair_dense(b, ldb, 1) : pair_dense(b, 1, ldb), c, ldc, epilogue);
  }
  if (!trans_a && m > 0 && m <= gemm_kernels().of<T>().mr && k > 0)
    return gemm_few_rows(trans_b, m, n, k, a, lda, b, ldb, c, ldc, epilogue);
  const Packer<T> pack_a = trans_a ? pack_dense(a, int64_t{1}, lda) : pack_dense(a, lda, int64_t{1});
  const Packer<T> pack_b = trans_b ? pack_dense(b, ldb, int64_t{1}) : pack_dense(b, int64_t{1}, ldb);
  const RowsOfA<T> rows{trans_a ? nullptr : a, lda};
  gemm_packed(m, n, k, pack_a, pack_b, c, ldc, epilogue, rows,
              kept_panels({b, trans_b ? PackedUse::As::b_transposed : PackedUse::As::b, n, k, ldb}, pack_b));
}

#define INSTANTIATE(T)                                                                                  \
  template void gemm_packed(int64_t, int64_t, int64_t, const Packer<T>&, const Packer<T>&, T*, int64_t, \
                            const Epilogue<T>&, const RowsOfA<T>&, const T*);                           \
  template Packer<T> pack_dense(const T*, int64_t, int64_t);                                            \
  template void gemm(bool, bool, int64_t, int64_t, int64_t, const T*, int64_t, const T*, int64_t, T*,   \
                     int64_t, const Epilogue<T>&);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace hashgrad::cpu
