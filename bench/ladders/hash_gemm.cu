// Y = X V^T with a hashed matrix V (mode full), from one thread per output to the production choice.
// docs/kernels/hash_gemm.md has the steps. V[i,j] = +-w[bucket(i,j)] is never stored: every rung computes
// it where it multiplies.
#include <memory>

#include "bench/ladders/ladders.h"
#include "cpu/hash_gemm.h"
#include "cuda/gpu.h"
#include "cuda/hash_device.h"
#include "cuda/hash_gemm.h"
#include "cuda/mma.h"

namespace hashgrad::HASHGRAD_GPU::bench {
namespace {

struct Hashed {
  uint64_t seed;
  uint32_t slots;  // 2K
  int batch, rows, columns;
  const float *w, *x;  // [K], [batch, columns]
  float* y;            // [batch, rows]

  __device__ float x_at(int s, int j) const {
    return s < batch && j < columns ? x[int64_t{s} * columns + j] : 0.0f;
  }
  __device__ void put(int s, int i, float value) const {
    if (s < batch && i < rows) y[int64_t{s} * rows + i] = value;
  }
};

constexpr int threads = 256;

__device__ __forceinline__ uint32_t index(int i) { return static_cast<uint32_t>(i); }

/// 1. A thread per output (sample s, row i), the formula as it stands: two keys of three mixes each, and a
/// hash, per weight.
__global__ void textbook(Hashed h) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x), s = static_cast<int>(blockIdx.y);
  if (i >= h.rows) return;
  float sum = 0;
  for (int j = 0; j < h.columns; ++j) {
    const uint32_t slot = hash_slot(row_key(h.seed, index(i)), column_key(h.seed, index(j)), h.slots);
    sum += h.x[int64_t{s} * h.columns + j] * (slot & 1 ? -h.w[slot >> 1] : h.w[slot >> 1]);
  }
  h.put(s, i, sum);
}

/// 2. The keys of the block's 256 columns at a time are computed once, by one thread each; that of the row
/// before the loop.
__global__ void keys_kept(Hashed h) {
  GPU_SHARED(uint32_t, keys, [threads]);
  const int t = static_cast<int>(threadIdx.x), i = static_cast<int>(blockIdx.x) * threads + t,
            s = static_cast<int>(blockIdx.y);
  const uint32_t own = row_key(h.seed, index(i));
  float sum = 0;
  for (int j0 = 0; j0 < h.columns; j0 += threads) {
    __syncthreads();
    keys[t] = column_key(h.seed, index(j0 + t));
    __syncthreads();
    for (int j = j0; j < j0 + threads && j < h.columns; ++j)
      sum += h.x[int64_t{s} * h.columns + j] * value_of(h.w, hash_slot(own, keys[j - j0], h.slots));
  }
  h.put(s, i, sum);
}

/// Copies w next to the block, each value followed by its negative: the slot is the index, the sign costs
/// nothing.
__device__ void bring_signed(const Hashed& h, float* table) {
  for (uint32_t slot = threadIdx.x; slot < h.slots; slot += blockDim.x)
    table[slot] = with_sign(h.w[slot >> 1], slot);
}

/// 3. The same with a table of all 2K signed values in shared memory.
__global__ void signed_table(Hashed h) {
  GPU_SHARED(uint32_t, keys, [threads]);
  float* const table = dyn_shared<float>();  // [2K]
  bring_signed(h, table);
  const int t = static_cast<int>(threadIdx.x), i = static_cast<int>(blockIdx.x) * threads + t,
            s = static_cast<int>(blockIdx.y);
  const uint32_t own = row_key(h.seed, index(i));
  float sum = 0;
  for (int j0 = 0; j0 < h.columns; j0 += threads) {
    __syncthreads();
    keys[t] = column_key(h.seed, index(j0 + t));
    __syncthreads();
    for (int j = j0; j < j0 + threads && j < h.columns; ++j)
      sum += h.x[int64_t{s} * h.columns + j] * table[hash_slot(own, keys[j - j0], h.slots)];
  }
  h.put(s, i, sum);
}

/// 4. A warp per 4 rows, lanes along the columns: a weight is generated once and used for 8 samples, a key of
/// a column for 4 rows, and X is read 32 neighbours at a time. The lanes' sums are added at the end.
__global__ void __launch_bounds__(threads) warp_per_rows(Hashed h) {
  constexpr int own_rows = 4, samples = 8;
  float* const table = dyn_shared<float>();  // [2K]
  bring_signed(h, table);
  __syncthreads();
  const int i0 = static_cast<int>(grid_rank() / 32) * own_rows, s0 = static_cast<int>(blockIdx.y) * samples;
  uint32_t own[own_rows];
  GPU_UNROLL
  for (int r = 0; r < own_rows; ++r) own[r] = row_key(h.seed, index(i0 + r));
  float sums[own_rows][samples] = {};
  for (int j = static_cast<int>(lane_id()); j < h.columns; j += 32) {
    const uint32_t key = column_key(h.seed, index(j));
    float x[samples];
    GPU_UNROLL
    for (int s = 0; s < samples; ++s) x[s] = h.x_at(s0 + s, j);
    GPU_UNROLL
    for (int r = 0; r < own_rows; ++r) {
      const float weight = table[hash_slot(own[r], key, h.slots)];
      GPU_UNROLL
      for (int s = 0; s < samples; ++s) sums[r][s] += weight * x[s];
    }
  }
  GPU_UNROLL
  for (int r = 0; r < own_rows; ++r) {
    GPU_UNROLL
    for (int s = 0; s < samples; ++s) {
      const float sum = warp_reduce(sums[r][s], [](float a, float b) { return a + b; });
      if (lane_id() == 0) h.put(s0 + s, i0 + r, sum);
    }
  }
}

/// 5. An ordinary tiled product, 64 samples x 64 rows per block and 4 x 4 per thread, whose tile of V is
/// generated instead of read: each weight serves 64 samples.
__global__ void __launch_bounds__(threads) generated_tile(Hashed h) {
  constexpr int depth = 16;
  GPU_SHARED(float, x, [depth][64 + 1]);
  GPU_SHARED(float, v, [depth][64 + 1]);
  float* const table = dyn_shared<float>();  // [2K]
  bring_signed(h, table);
  const int t = static_cast<int>(threadIdx.x), tx = t % 16, ty = t / 16;
  const int i0 = static_cast<int>(blockIdx.x) * 64, s0 = static_cast<int>(blockIdx.y) * 64;
  const uint32_t own = row_key(h.seed, index(i0 + t % 64));
  float sums[4][4] = {};
  for (int j0 = 0; j0 < h.columns; j0 += depth) {
    __syncthreads();
    for (int e = t; e < 64 * depth; e += threads)
      x[e % depth][e / depth] = h.x_at(s0 + e / depth, j0 + e % depth);
    for (int d = t / 64; d < depth; d += threads / 64)
      v[d][t % 64] = table[hash_slot(own, column_key(h.seed, index(j0 + d)), h.slots)];
    __syncthreads();
    GPU_UNROLL
    for (int d = 0; d < depth; ++d) {
      GPU_UNROLL
      for (int a = 0; a < 4; ++a) {
        GPU_UNROLL
        for (int b = 0; b < 4; ++b) sums[a][b] += x[d][ty + 16 * a] * v[d][tx + 16 * b];
      }
    }
  }
  for (int a = 0; a < 4; ++a)
    for (int b = 0; b < 4; ++b) h.put(s0 + ty + 16 * a, i0 + tx + 16 * b, sums[a][b]);
}

/// 6. Y^T = V X^T on tensor cores, in bf16: a lane generates just the 8 weights of V that it must hold of
/// each 16 x 16 fragment, so V passes through no memory at all. Warp: 16 rows x 64 samples; block: 8 warps.
/// Samples are read through the first-level cache.
__global__ void __launch_bounds__(threads) tensor_cores(Hashed h) {
  float* const table = dyn_shared<float>();  // [2K]
  bring_signed(h, table);
  __syncthreads();
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(lane_id()), g = lane / 4,
            t = lane % 4;
  const int i0 = static_cast<int>(blockIdx.x) * 128 + warp * 16, s0 = static_cast<int>(blockIdx.y) * 64;
  const uint32_t own[2] = {row_key(h.seed, index(i0 + g)), row_key(h.seed, index(i0 + g + 8))};
  float sums[8][4] = {};
  for (int j0 = 0; j0 < h.columns; j0 += 16) {
    unsigned v[4];
    GPU_UNROLL
    for (int e = 0; e < 4; ++e) {  // the order that cuda/mma.h shows; beyond the last column X is 0
      const int j = j0 + 2 * t + e / 2 * 8;
      v[e] = pack_bf16(table[hash_slot(own[e % 2], column_key(h.seed, index(j)), h.slots)],
                       table[hash_slot(own[e % 2], column_key(h.seed, index(j + 1)), h.slots)]);
    }
    GPU_UNROLL
    for (int n = 0; n < 8; ++n) {
      const int s = s0 + n * 8 + g, j = j0 + 2 * t;
      const unsigned x[2] = {pack_bf16(h.x_at(s, j), h.x_at(s, j + 1)),
                             pack_bf16(h.x_at(s, j + 8), h.x_at(s, j + 9))};
      mma_bf16_16x8x16(sums[n], v, x);
    }
  }
  GPU_UNROLL
  for (int n = 0; n < 8; ++n) {
    GPU_UNROLL
    for (int e = 0; e < 4; ++e) h.put(s0 + n * 8 + 2 * t + e % 2, i0 + g + e / 2 * 8, sums[n][e]);
  }
}

dim3 grid_of(int64_t x, int64_t y) { return dim3(static_cast<unsigned>(x), static_cast<unsigned>(y)); }

}  // namespace

Ladder hash_gemm_ladder(int64_t batch, int64_t rows, int64_t columns, int64_t buckets) {
  check(batch >= 1 && batch < 1 << 16 && buckets >= 1 && buckets <= 4096,
        "hash_gemm ladder: batch {} and {} buckets (1 to 65535, 1 to 4096)", batch, buckets);
  const auto v = std::make_shared<const cpu::HashedMatrix>(
      cpu::HashedMatrix::linear({.seed = 7, .buckets = buckets, .mode = HashMode::full}, rows, columns));
  const double weights = static_cast<double>(rows) * static_cast<double>(columns),
               samples = static_cast<double>(batch);
  const double bytes = 4 * (samples * static_cast<double>(rows + columns) + static_cast<double>(buckets));
  constexpr double per_hash = 6;  // integer instructions
  Ladder ladder{.name = "hash_gemm",
                .formula = "Y = A V^T, A [batch, columns], V [rows, columns] hashed, B = its K weights",
                .extents = {{"batch", batch}, {"rows", rows}, {"columns", columns}, {"K", buckets}},
                .a = batch * columns,
                .b = buckets,
                .y = batch * rows,
                .work = {.memory = bytes,
                         .multiply_add = 2 * weights * samples,
                         .integer = per_hash * weights,
                         .shared_random = weights},
                .flops = 2 * weights * samples,
                .reference = {},
                .rungs = {}};
  ladder.reference = [=](const float* a, const float* b, float* y) {
    cpu::hashed_linear(*v, b, batch, a, y);
  };
  const size_t table = static_cast<size_t>(8 * buckets);
  // `hashes`: times that each weight is generated; `keys`: instructions for keys per generated weight.
  const auto add = [&](const char* idea, double hashes, double keys, bool shared, auto kernel, dim3 grid) {
    Program run = [=](const float* a, const float* b, float* y) {
      launch(kernel, grid, threads, shared ? table : 0,
             Hashed{v->spec().seed, static_cast<uint32_t>(2 * buckets), static_cast<int>(batch),
                    static_cast<int>(rows), static_cast<int>(columns), b, a, y});
    };
    ladder.rungs.push_back({idea,
                            std::move(run),
                            {.memory = bytes,
                             .l2 = shared ? 0 : 32 * hashes * weights,
                             .multiply_add = 2 * weights * samples,
                             .integer = (per_hash + keys) * hashes * weights,
                             .shared_random = shared ? hashes * weights : 0},
                            1e-5});
  };
  const auto passes = [&](int64_t per_pass) { return static_cast<double>(blocks_for(batch, per_pass)); };
  add("a thread per output, every hash anew", samples, 26, false, textbook,
      grid_of(blocks_for(rows, threads), batch));
  add("keys of rows and columns kept", samples, 0, false, keys_kept,
      grid_of(blocks_for(rows, threads), batch));
  add("signed table in shared memory", samples, 0, true, signed_table,
      grid_of(blocks_for(rows, threads), batch));
  add("a warp per 4 rows, 8 samples", passes(8), 6.5, true, warp_per_rows,
      grid_of(blocks_for(rows, 4 * threads / 32), blocks_for(batch, 8)));
  add("tile of V generated, fp32 product", passes(64), 26, true, generated_tile,
      grid_of(blocks_for(rows, 64), blocks_for(batch, 64)));
  if (properties().major >= 8) {
    add("V as a fragment, bf16 tensor cores", passes(64), 13, true, tensor_cores,
        grid_of(blocks_for(rows, 128), blocks_for(batch, 64)));
    ladder.rungs.back().tolerance =
        8e-3;  // each factor keeps 8 bits: 2^-8 per product, less when errors cancel
    ladder.rungs.back().work.multiply_add = 0;
  }
  ladder.rungs.push_back(
      {"production (float32)",
       [=](const float* a, const float* b, float* y) { HASHGRAD_GPU::hashed_linear(*v, b, batch, a, y); },
       ladder.work, 1e-5});
  return ladder;
}

}  // namespace hashgrad::HASHGRAD_GPU::bench
