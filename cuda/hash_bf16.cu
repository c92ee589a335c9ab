// Products with bfloat16 weights and inputs on tensor cores. Only for those who ask (HashKernel::bf16): eight
// bits of mantissa are too few to tell a masked gradient from a small one.
//
// V is the operand that tensor cores take from registers: each lane generates just the 8 weights of a 16 x 16
// fragment that it must hold, so V passes through no shared memory; in mode strat their 32 lookups at a time
// meet 32 banks. A fragment is used for 64 samples.
#include "cuda/hash_kernels.h"
#include "cuda/matrix.h"
#include "cuda/mma.h"

namespace hashgrad::HASHGRAD_GPU {
namespace {

constexpr int warps = 8, threads = 32 * warps;
constexpr int rows = 16 * warps, samples = 64,
              stage = 64;  // rows of P and samples of a block, depths of a step
constexpr int pad = 8;     // keeps the rows that ldmatrix reads in different banks

struct Bf16Product {
  HashedProduct<float> p;
  MatrixSink<float> to;
};

struct BlockMemory {
  alignas(16) uint32_t x[samples][(stage + pad) / 2];  // pairs of bf16, neighbours in depth
  uint32_t keys[stage];                                // of the depths
  uint32_t tiles[stage / 32][rows / 32];               // words of the tiles, [depth / 32, row / 32]
};

/// Inputs, rounded, and keys of the depths from `begin` on. Zeros beyond the edges of X.
template <HashMode mode>
__device__ void bring(const HashedProduct<float>& p, int64_t first_row, int64_t first_sample, int64_t begin,
                      BlockMemory& memory) {
  const int64_t depth = p.depth();
  const int thread = static_cast<int>(threadIdx.x);
  for (int e = thread; e < samples * stage / 2; e += threads) {
    const int64_t m = first_sample + e / (stage / 2), d = begin + e % (stage / 2) * 2;
    const float* from = p.x + m * depth + d;
    const bool inside = m < p.batch;
    memory.x[e / (stage / 2)][e % (stage / 2)] =
        pack_bf16(inside && d < depth ? from[0] : 0.0f, inside && d + 1 < depth ? from[1] : 0.0f);
  }
  if (thread < stage)
    memory.keys[thread] =
        (p.transposed ? row_unit<mode>(p.v, begin + thread) : column_unit<mode>(p.v, begin + thread)).key;
  if constexpr (mode == HashMode::strat || mode == HashMode::window) {
    constexpr int across = rows / 32;
    if (thread < stage / 32 * across) {
      const uint32_t of_row = static_cast<uint32_t>(first_row / 32 + thread % across),
                     of_depth = static_cast<uint32_t>(begin / 32 + thread / across);
      memory.tiles[thread / across][thread % across] =
          p.transposed
              ? tile_of<mode>(p.v, row_tile_keys(p.v.seed, of_depth), column_tile_keys(p.v.seed, of_row))
              : tile_of<mode>(p.v, row_tile_keys(p.v.seed, of_row), column_tile_keys(p.v.seed, of_depth));
    }
  }
}

/// A block computes [128 rows of P, 64 samples], a warp 16 rows of it, as the product of P and X^T.
template <HashMode mode, bool shared_table>
__global__ void __launch_bounds__(threads) bf16_kernel(Bf16Product s) {
  const HashedProduct<float>& p = s.p;
  const int64_t outer = p.outer(), depth = p.depth();
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(lane_id()), g = lane / 4,
            t = lane % 4;
  const int64_t first_row = int64_t{blockIdx.x} * rows, first_sample = int64_t{blockIdx.y} * samples;
  BlockMemory& memory = *dyn_shared<BlockMemory>();
  const float* w = p.w;
  if constexpr (shared_table) {
    float* const table = reinterpret_cast<float*>(dyn_shared<BlockMemory>() + 1);
    for (int64_t b = threadIdx.x; b < p.v.buckets; b += threads) table[b] = p.w[b];
    w = table;
  }
  Unit row[2];  // of this lane's rows, g and g + 8 of the warp's 16
  for (int half = 0; half < 2; ++half) {
    const int64_t o = first_row + 16 * warp + g + 8 * half;
    row[half] = p.transposed ? column_unit<mode>(p.v, o) : row_unit<mode>(p.v, o);
  }
  float sums[samples / 8][4] = {};
  for (int64_t begin = 0; begin < depth; begin += stage) {
    __syncthreads();
    bring<mode>(p, first_row, first_sample, begin, memory);
    __syncthreads();
    const int depths = static_cast<int>(depth - begin < stage ? depth - begin : stage);
    for (int k = 0; k < depths; k += 16) {
      const auto weight = [&](const Unit& own, int d) {
        const uint32_t at = static_cast<uint32_t>(d),
                       bank = own.bank ^ (p.transposed ? row_bank(at) : column_bank(at));
        const uint32_t tile = is_stratified(mode) ? memory.tiles[d / 32][warp / 2] : 0u;
        return d < depths ? value_of(w, slot_in_tile<mode>(p.v, own.key, memory.keys[d], bank, tile)) : 0.0f;
      };
      unsigned a[4];
      GPU_UNROLL
      for (int e = 0; e < 4; ++e) {
        const int d = k + 2 * t + e / 2 * 8;
        a[e] = pack_bf16(weight(row[e % 2], d), weight(row[e % 2], d + 1));
      }
      GPU_UNROLL
      for (int n = 0; n < samples / 8;
           n += 2) {  // two fragments of X^T at a time, each of depths k.. and k + 8..
        unsigned b[4];
        ldmatrix_x4(b, &memory.x[(n + lane / 16) * 8 + lane % 8][k / 2 + lane / 8 % 2 * 4]);
        const unsigned left[2] = {b[0], b[1]}, right[2] = {b[2], b[3]};
        mma_bf16_16x8x16(sums[n], a, left);
        mma_bf16_16x8x16(sums[n + 1], a, right);
      }
    }
  }
  GPU_UNROLL
  for (int n = 0; n < samples / 8; ++n) {
    GPU_UNROLL
    for (int e = 0; e < 4; ++e) {
      const int64_t o = first_row + 16 * warp + g + e / 2 * 8, m = first_sample + 8 * n + 2 * t + e % 2;
      if (o < outer && m < p.batch) s.to.put(m, s.to.template column<1>(o), 0, Pack<float, 1>{{sums[n][e]}});
    }
  }
}

}  // namespace

void bf16_product(const HashedProduct<float>& p, int64_t shared_bytes) {
  check(p.v.mode != HashMode::xxhash, "hash: mode xxhash has no bf16 kernel");
  check(properties().major >= 8, "hash: bf16 needs a device of compute capability 8.0, this is {}.{}",
        properties().major, properties().minor);
  const int64_t outer = p.outer(), with_table = static_cast<int64_t>(sizeof(BlockMemory)) + 4 * p.v.buckets;
  const int64_t down = blocks_for(p.batch, samples);
  check(down < 65536, "hash: {} samples are too many for one product in bf16", p.batch);
  const dim3 grid(static_cast<unsigned>(blocks_for(outer, rows)), static_cast<unsigned>(down));
  const Bf16Product s{p, {p.c, outer, outer, 1, 0, false, p.epilogue}};
  with_mode(p.v.mode, [&]<HashMode mode>() {
    if constexpr (mode != HashMode::xxhash) {
      if (with_table <= shared_bytes && mode != HashMode::window)
        launch(bf16_kernel<mode, mode != HashMode::window>, grid, threads, static_cast<size_t>(with_table),
               s);
      else
        launch(bf16_kernel<mode, false>, grid, threads, sizeof(BlockMemory), s);
    }
  });
}

}  // namespace hashgrad::HASHGRAD_GPU
