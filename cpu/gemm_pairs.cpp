#include "cpu/gemm_pairs.h"

#include <algorithm>
#include <utility>

#include "core/parallel.h"
#include "cpu/blocking.h"
#include "cpu/scratch.h"

namespace hashgrad::cpu {
namespace {

constexpr int64_t serial_products = int64_t{1} << 22;  // below, waking the other threads costs more
constexpr int64_t chunk_panels = 8;  // of the shared operand that meet a streamed block in L2
constexpr int64_t stripe_words = stripe_bytes / static_cast<int64_t>(sizeof(uint32_t));

/// One side of the product: an operand, and its extent (rows of A or columns of B).
struct Side {
  const PairPacker& pack;
  Operand operand;
  int64_t extent;
};

/// Packs indices [first, first + count), all depths: block of depth after block of depth.
void pack_stripe(bool serial, const Side& side, int parts, int64_t first, int64_t count, int64_t k,
                 int64_t kc, uint32_t* stripe) {
  const int64_t panels = divide_up(count, pair_panel), full = panels * pair_panel_words(kc, parts);
  parallel_for_unless(serial, divide_up(k, kc) * panels, [&](int64_t task) {
    const int64_t k0 = task / panels * kc, depth = std::min(kc, k - k0), at = task % panels;
    side.pack({first + at * pair_panel, std::min(pair_panel, count - at * pair_panel), k0, depth, pair_panel},
              parts, side.operand, stripe + task / panels * full + at * pair_panel_words(depth, parts));
  });
}

}  // namespace

int parts_of(Math math) {
  switch (math) {
    case Math::fp32:
      return 0;
    case Math::bf16:
      return 1;
    case Math::split_bf16:
      return 2;
    case Math::split_bf16_x6:
      return 3;
  }
  return 0;
}

int64_t pair_block_depth(int64_t k, int parts) {
  const int64_t most = parts == 1 ? 320 : parts == 2 ? 128 : 512;  // measured: cpu/README.md
  const int64_t blocks = std::max<int64_t>(1, divide_up(k, most));
  return std::max(pair_depth, round_up(divide_up(k, blocks), pair_depth));
}

PairPacker pair_dense(const float* data, int64_t index_stride, int64_t depth_stride) {
  return [=](const PackBlock& block, int parts, Operand operand, uint32_t* panels) {
    const PairSource source{data + block.first * index_stride + block.k0 * depth_stride,
                            index_stride,
                            depth_stride,
                            block.count,
                            block.depth,
                            parts};
    (operand == Operand::a ? pair_kernels().pack_a : pair_kernels().pack_b)(source, panels);
  };
}

PairPacker pair_packed(Packer<float> pack) {
  return [pack = std::move(pack)](const PackBlock& block, int parts, Operand operand, uint32_t* panels) {
    const Scratch<float> floats(pair_panel * block.depth);  // [depth, 32]
    for (int64_t i = 0; i < block.count; i += pair_panel, panels += pair_panel_words(block.depth, parts)) {
      const int64_t count = std::min(pair_panel, block.count - i);
      pack({block.first + i, count, block.k0, block.depth, pair_panel}, floats.data());
      const PairSource source{floats.data(), 1, pair_panel, count, block.depth, parts};
      (operand == Operand::a ? pair_kernels().pack_a : pair_kernels().pack_b)(source, panels);
    }
  };
}

void multiply_block(bool pairs, const GemmBlock<float>& g) {
  if (!pairs) return gemm_kernels().of<float>().block(g);
  pair_kernels().block({.rows = g.rows,
                        .columns = g.columns,
                        .depth = g.depth,
                        .parts = 1,
                        .a = reinterpret_cast<const uint32_t*>(g.a),
                        .b = reinterpret_cast<const uint32_t*>(g.b),
                        .sums = g.c,
                        .first = !g.accumulate,
                        .last = false});
}

void gemm_pairs(int parts, int64_t m, int64_t n, int64_t k, const PairPacker& a, const PairPacker& b,
                float* c, int64_t ldc, const Epilogue<float>& epilogue) {
  // The smaller operand is packed once and shared; tasks stream blocks of the larger one past it.
  const bool share_a = m <= n, serial = m * n * k < serial_products;
  const Side side_a{a, Operand::a, m}, side_b{b, Operand::b, n};
  const Side &shared = share_a ? side_a : side_b, &streamed = share_a ? side_b : side_a;
  const int64_t kc = pair_block_depth(k, parts), depth_blocks = divide_up(k, kc);
  const int64_t words = pair_panel_words(kc, parts);  // of a panel of full depth
  const int64_t fits = std::max<int64_t>(1, stripe_words / (depth_blocks * words));
  const int64_t stripe = std::min(round_up(shared.extent, pair_panel), pair_panel * fits);
  const int64_t streamed_panels = divide_up(streamed.extent, pair_panel);
  const int64_t step =
      pair_panel * std::min(chunk_panels, divide_up(streamed_panels, std::min<int64_t>(4, streamed_panels)));
  const Scratch<uint32_t> shared_panels(depth_blocks * stripe / pair_panel * words);

  for (int64_t s0 = 0; s0 < shared.extent; s0 += stripe) {
    const int64_t s_count = std::min(stripe, shared.extent - s0), s_panels = divide_up(s_count, pair_panel);
    pack_stripe(serial, shared, parts, s0, s_count, k, kc, shared_panels.data());
    parallel_for_unless(serial, divide_up(streamed.extent, step), [&](int64_t task) {
      const int64_t t0 = task * step, t_count = std::min(step, streamed.extent - t0);
      const Scratch<uint32_t> panels(divide_up(t_count, pair_panel) * words);
      const Scratch<float> sums(pair_sums(s_count, t_count));
      const PairTiles tiles;
      for (int64_t k0 = 0; k0 < k; k0 += kc) {
        const int64_t depth = std::min(kc, k - k0);
        const bool last = k0 + depth == k;
        streamed.pack({t0, t_count, k0, depth, pair_panel}, parts, streamed.operand, panels.data());
        for (int64_t c0 = 0; c0 < s_count; c0 += chunk_panels * pair_panel) {
          const int64_t c_count = std::min(chunk_panels * pair_panel, s_count - c0);
          const uint32_t* packed = shared_panels.data() + k0 / kc * s_panels * words +
                                   c0 / pair_panel * pair_panel_words(depth, parts);
          const int64_t i = share_a ? s0 + c0 : t0, j = share_a ? t0 : s0 + c0;
          pair_kernels().block({share_a ? c_count : t_count, share_a ? t_count : c_count, depth, parts,
                                share_a ? packed : panels.data(), share_a ? panels.data() : packed,
                                sums.data() + pair_sums(c0, t_count), k0 == 0, last, c + i * ldc + j, ldc,
                                epilogue.row_bias ? epilogue.row_bias + i : nullptr,
                                epilogue.column_bias ? epilogue.column_bias + j : nullptr,
                                epilogue.accumulate, epilogue.relu});
        }
      }
    });
  }
}

}  // namespace hashgrad::cpu
