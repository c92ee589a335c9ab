// dw[b] = sum of sign(i,j) * D[i,j] over the (i,j) of bucket b, D [rows, columns], mode full: from one atomic
// per element to the production kernel. docs/kernels/hash_scatter.md has the steps.
#include <algorithm>
#include <memory>

#include "bench/ladders/ladders.h"
#include "cpu/hash_gemm.h"
#include "cuda/gpu.h"
#include "cuda/hash_device.h"
#include "cuda/hash_gemm.h"
#include "cuda/scratch.h"

namespace hashgrad::HASHGRAD_GPU::bench {
namespace {

struct Scatter {
  uint64_t seed;
  int rows, columns, buckets;
  const float* d;  // [rows, columns], in [-1, 1]
  float* dw;       // [K], zeros to begin with

  __device__ uint32_t slots() const { return static_cast<uint32_t>(2 * buckets); }
};

constexpr int threads = 256;

__device__ __forceinline__ uint32_t index(int64_t i) { return static_cast<uint32_t>(i); }

/// 1. A thread per element: two keys, a hash, and an addition in memory that all threads compete for.
__global__ void atomic_per_weight(Scatter s) {
  const int64_t at = grid_rank(), i = at / s.columns, j = at % s.columns;
  if (i >= s.rows) return;
  const uint32_t slot = hash_slot(row_key(s.seed, index(i)), column_key(s.seed, index(j)), s.slots());
  atomicAdd(&s.dw[slot >> 1], with_sign(s.d[at], slot));
}

/// Calls add(slot, element) for every element, a block taking whole rows, whose key it computes once per row;
/// a thread's columns keep theirs while the block goes down its rows.
template <class Add>
__device__ void for_each_element(const Scatter& s, const Add& add) {
  for (int j = static_cast<int>(threadIdx.x); j < s.columns; j += static_cast<int>(blockDim.x)) {
    const uint32_t key = column_key(s.seed, index(j));
    for (int i = static_cast<int>(blockIdx.x); i < s.rows; i += static_cast<int>(gridDim.x))
      add(hash_slot(row_key(s.seed, index(i)), key, s.slots()), s.d[int64_t{i} * s.columns + j]);
  }
}

/// 2. A block adds up in a table of its own, in shared memory, and adds that to dw at the end. Shared memory
/// cannot add floats: atomicAdd is a loop of read, add, compare-and-swap.
__global__ void __launch_bounds__(threads) float_table(Scatter s) {
  float* const table = dyn_shared<float>();  // [K]
  for (int b = static_cast<int>(threadIdx.x); b < s.buckets; b += threads) table[b] = 0;
  __syncthreads();
  for_each_element(
      s, [&](uint32_t slot, float element) { atomicAdd(&table[slot >> 1], with_sign(element, slot)); });
  __syncthreads();
  for (int b = static_cast<int>(threadIdx.x); b < s.buckets; b += threads) atomicAdd(&s.dw[b], table[b]);
}

/// 3. It can add integers, in one instruction, and their sum has no order: the result has the same bits every
/// time. `scale` is a power of two so small that all elements of a block fit into 32 bits.
__global__ void __launch_bounds__(threads) integer_table(Scatter s, float scale, unsigned long long* sums) {
  int* const table = dyn_shared<int>();  // [K]
  for (int b = static_cast<int>(threadIdx.x); b < s.buckets; b += threads) table[b] = 0;
  __syncthreads();
  for_each_element(s, [&](uint32_t slot, float element) {
    atomicAdd(&table[slot >> 1], __float2int_rn(with_sign(element, slot) * scale));
  });
  __syncthreads();
  for (int b = static_cast<int>(threadIdx.x); b < s.buckets; b += threads)
    atomicAdd(&sums[b], static_cast<unsigned long long>(static_cast<long long>(table[b])));
}

__global__ void to_floats(int buckets, double unit, const unsigned long long* sums, float* dw) {
  for (int64_t b = grid_rank(); b < buckets; b += grid_threads())
    dw[b] = static_cast<float>(static_cast<double>(static_cast<long long>(sums[b])) * unit);
}

/// 4. For small K every thread has a table of its own: no atomics, and floats in one order. The tables lie
/// side by side, entry b of all 64 threads in a row, so that lanes meet 32 banks whatever their buckets.
constexpr int private_threads = 64, most_private_buckets = 160;
__global__ void __launch_bounds__(private_threads) private_table(Scatter s, float* of_block) {
  float* const table = dyn_shared<float>();  // [K][64]
  const int t = static_cast<int>(threadIdx.x);
  for (int b = 0; b < s.buckets; ++b) table[b * private_threads + t] = 0;
  for_each_element(s, [&](uint32_t slot, float element) {
    table[static_cast<int>(slot >> 1) * private_threads + t] += with_sign(element, slot);
  });
  __syncthreads();
  for (int b = t; b < s.buckets;
       b += private_threads) {  // a different thread first for each bucket: other banks
    float sum = 0;
    for (int n = 0; n < private_threads; ++n) sum += table[b * private_threads + (n + t) % private_threads];
    of_block[int64_t{blockIdx.x} * s.buckets + b] = sum;
  }
}

__global__ void add_blocks(int blocks, int buckets, const float* of_block, float* dw) {
  for (int64_t b = grid_rank(); b < buckets; b += grid_threads()) {
    double sum = 0;
    for (int n = 0; n < blocks; ++n) sum += static_cast<double>(of_block[int64_t{n} * buckets + b]);
    dw[b] = static_cast<float>(sum);
  }
}

/// Largest power of two that keeps `elements` numbers of size 1 below 2^31.
float scale_for(int64_t elements) {
  float scale = 0x1p30f;
  for (int64_t n = 1; n < elements; n *= 2) scale /= 2;
  return scale;
}

}  // namespace

Ladder hash_scatter_ladder(int64_t rows, int64_t columns, int64_t buckets) {
  check(buckets >= 1 && buckets <= 8192, "hash_scatter ladder: {} buckets (1 to 8192)", buckets);
  const auto v = std::make_shared<const cpu::HashedMatrix>(
      cpu::HashedMatrix::linear({.seed = 7, .buckets = buckets, .mode = HashMode::full}, rows, columns));
  const double weights = static_cast<double>(rows * columns),
               bytes = 4 * (weights + static_cast<double>(buckets));
  constexpr double per_hash = 6, per_key = 26;  // integer instructions
  const Amounts least{.memory = bytes, .integer = per_hash * weights, .shared_random = weights};
  Ladder ladder{.name = "hash_scatter",
                .formula = "Y[b] = sum of sign * A[i,j] over the (i,j) of bucket b",
                .extents = {{"rows", rows}, {"columns", columns}, {"K", buckets}},
                .a = rows * columns,
                .b = 0,
                .y = buckets,
                .work = least,
                .flops = weights,
                .reference = {},
                .rungs = {}};
  ladder.reference = [=](const float* a, const float*, float* y) { cpu::scatter(*v, a, y); };
  const int64_t blocks = std::min<int64_t>(rows, int64_t{properties().multiprocessors} * 4);
  const int64_t of_block = blocks_for(rows, blocks) * columns;
  const size_t table = static_cast<size_t>(4 * buckets);
  const auto work = [=](const float* a, float* y) {
    return Scatter{
        v->spec().seed, static_cast<int>(rows), static_cast<int>(columns), static_cast<int>(buckets), a, y};
  };
  const auto add = [&](const char* idea, Amounts amounts, Program run) {
    ladder.rungs.push_back({idea, std::move(run), amounts, 1e-5});
  };
  add("one atomicAdd per weight",
      {.memory = bytes, .l2 = 32 * weights, .integer = (per_hash + 2 * per_key) * weights, .launch = 2},
      [=](const float* a, const float*, float* y) {
        set_bytes(y, 0, table);
        launch(atomic_per_weight, blocks_for(rows * columns, threads), threads, 0, work(a, y));
      });
  add("keys kept, float table in shared memory",
      {.memory = bytes, .integer = (per_hash + per_key) * weights, .shared_random = 3 * weights, .launch = 2},
      [=](const float* a, const float*, float* y) {
        set_bytes(y, 0, table);
        launch(float_table, blocks, threads, table, work(a, y));
      });
  add("integer table, native atomics",
      {.memory = bytes, .integer = (per_hash + per_key + 2) * weights, .shared_random = weights, .launch = 3},
      [=](const float* a, const float*, float* y) {
        const Scratch<unsigned long long> sums(buckets);
        set_bytes(sums.data(), 0, static_cast<size_t>(8 * buckets));
        const float scale = scale_for(of_block);
        launch(integer_table, blocks, threads, table, work(a, y), scale, sums.data());
        launch(to_floats, blocks_for(buckets, threads), threads, 0, static_cast<int>(buckets),
               1 / static_cast<double>(scale), sums.data(), y);
      });
  if (buckets <= most_private_buckets)
    add("a table per thread, no atomics",
        {.memory = bytes, .integer = (per_hash + per_key) * weights, .shared = 2 * weights, .launch = 2},
        [=](const float* a, const float*, float* y) {
          const Scratch<float> parts(blocks * buckets);
          launch(private_table, blocks, private_threads, private_threads * table, work(a, y), parts.data());
          launch(add_blocks, blocks_for(buckets, threads), threads, 0, static_cast<int>(blocks),
                 static_cast<int>(buckets), parts.data(), y);
        });
  Amounts production = least;
  production.launch = 4;
  add("production (deterministic)", production,
      [=](const float* a, const float*, float* y) { HASHGRAD_GPU::scatter(*v, a, y); });
  return ladder;
}

}  // namespace hashgrad::HASHGRAD_GPU::bench
