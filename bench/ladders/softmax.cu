// Softmax of rows, from one thread per row to one read of memory. docs/kernels/softmax.md has the steps.
#include <algorithm>
#include <cmath>

#include "bench/ladders/ladders.h"
#include "cpu/softmax.h"
#include "cuda/gpu.h"
#include "cuda/softmax.h"

namespace hashgrad::HASHGRAD_GPU::bench {
namespace {

constexpr int threads = 256, most_columns = 1024;

struct Plus {
  __device__ float operator()(float a, float b) const { return a + b; }
};
struct Larger {
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};

/// 1. A thread walks along its row, three times. Neighbouring threads read addresses a whole row apart.
__global__ void thread_per_row(int64_t rows, int64_t columns, const float* x, float* y) {
  for (int64_t row = grid_rank(); row < rows; row += grid_threads()) {
    float maximum = -INFINITY, sum = 0;
    for (int64_t j = 0; j < columns; ++j) maximum = fmaxf(maximum, x[row * columns + j]);
    for (int64_t j = 0; j < columns; ++j) sum += expf(x[row * columns + j] - maximum);
    for (int64_t j = 0; j < columns; ++j) y[row * columns + j] = expf(x[row * columns + j] - maximum) / sum;
  }
}

/// 2. A block walks along its row: 256 neighbours are read at once. Maximum and sum go through shared memory.
__global__ void block_per_row(int64_t rows, int64_t columns, const float* x_all, float* y_all) {
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const float* x = x_all + row * columns;  // [columns]
    float maximum = -INFINITY, sum = 0;
    for (int64_t j = threadIdx.x; j < columns; j += threads) maximum = fmaxf(maximum, x[j]);
    maximum = block_reduce(maximum, -INFINITY, Larger{});
    for (int64_t j = threadIdx.x; j < columns; j += threads) sum += expf(x[j] - maximum);
    sum = block_reduce(sum, 0.0f, Plus{});
    for (int64_t j = threadIdx.x; j < columns; j += threads)
      y_all[row * columns + j] = expf(x[j] - maximum) / sum;
  }
}

/// 3. A warp walks along its row: no barrier, and lanes pass maximum and sum from register to register.
__global__ void warp_per_row(int64_t rows, int64_t columns, const float* x_all, float* y_all) {
  const int64_t warps = grid_threads() / 32;
  for (int64_t row = grid_rank() / 32; row < rows; row += warps) {
    const float* x = x_all + row * columns;  // [columns]
    float maximum = -INFINITY, sum = 0;
    for (int64_t j = lane_id(); j < columns; j += 32) maximum = fmaxf(maximum, x[j]);
    maximum = warp_reduce(maximum, Larger{});
    for (int64_t j = lane_id(); j < columns; j += 32) sum += expf(x[j] - maximum);
    sum = warp_reduce(sum, Plus{});
    for (int64_t j = lane_id(); j < columns; j += 32) y_all[row * columns + j] = expf(x[j] - maximum) / sum;
  }
}

/// 4. The row stays in registers, 32 numbers per lane: one read, one exponential per number, one write. The
/// loads do not wait for each other, so that 32 are under way at once.
__global__ void __launch_bounds__(threads)
    row_in_registers(int64_t rows, int columns, const float* x_all, float* y_all) {
  constexpr int per_lane = most_columns / 32;
  const int64_t warps = grid_threads() / 32;
  const int lane = static_cast<int>(lane_id());
  for (int64_t row = grid_rank() / 32; row < rows; row += warps) {
    const float* x = x_all + row * columns;  // [columns]
    float* y = y_all + row * columns;
    float v[per_lane], maximum = -INFINITY, sum = 0;
    GPU_UNROLL
    for (int i = 0; i < per_lane; ++i) v[i] = i * 32 + lane < columns ? x[i * 32 + lane] : -INFINITY;
    GPU_UNROLL
    for (int i = 0; i < per_lane; ++i) maximum = fmaxf(maximum, v[i]);
    maximum = warp_reduce(maximum, Larger{});
    GPU_UNROLL
    for (int i = 0; i < per_lane; ++i) sum += v[i] = expf(v[i] - maximum);  // exp(-inf) = 0 beyond the end
    const float factor = 1 / warp_reduce(sum, Plus{});
    GPU_UNROLL
    for (int i = 0; i < per_lane; ++i)
      if (i * 32 + lane < columns) y[i * 32 + lane] = v[i] * factor;
  }
}

/// Blocks that are enough to fill the device, for a kernel that loops over what is left.
int64_t enough_blocks(int64_t wanted) {
  return std::min<int64_t>(wanted, int64_t{properties().multiprocessors} * 16);
}

}  // namespace

Ladder softmax_ladder(int64_t rows, int64_t columns) {
  check(columns >= 1 && columns <= most_columns, "softmax ladder: {} columns, 1 to {} are allowed", columns,
        most_columns);
  const double elements = static_cast<double>(rows * columns), bytes = 4 * elements;
  // An expf is about 8 instructions on the GPU. Three passes read three times, the later two from the cache
  // if it holds.
  const auto work = [&](double reads, double exponentials) {
    return Amounts{
        .memory = 2 * bytes, .l2 = (reads + 1) * bytes, .integer = elements * (8 * exponentials + 4 * reads)};
  };
  Ladder ladder{.name = "softmax",
                .formula = "Y = softmax of the rows of A [rows, columns]",
                .extents = {{"rows", rows}, {"columns", columns}},
                .a = rows * columns,
                .b = 0,
                .y = rows * columns,
                .work = {.memory = 2 * bytes},
                .flops = 5 * elements,
                .reference = {},
                .rungs = {}};
  ladder.reference = [=](const float* a, const float*, float* y) { cpu::softmax(rows, columns, a, y); };
  constexpr double tolerance = 4e-6;  // exponentials of two libraries, sums in other orders
  const auto add = [&](const char* idea, Amounts amounts, Program run) {
    ladder.rungs.push_back({idea, std::move(run), amounts, tolerance});
  };
  add("a thread per row", work(3, 2), [=](const float* a, const float*, float* y) {
    launch(thread_per_row, blocks_for(rows, threads), threads, 0, rows, columns, a, y);
  });
  add("a block per row, three passes", work(3, 2), [=](const float* a, const float*, float* y) {
    launch(block_per_row, enough_blocks(rows), threads, 0, rows, columns, a, y);
  });
  add("a warp per row, shuffles", work(3, 2), [=](const float* a, const float*, float* y) {
    launch(warp_per_row, enough_blocks(blocks_for(rows, threads / 32)), threads, 0, rows, columns, a, y);
  });
  add("the row in registers, one read", work(1, 1), [=](const float* a, const float*, float* y) {
    launch(row_in_registers, enough_blocks(blocks_for(rows, threads / 32)), threads, 0, rows,
           static_cast<int>(columns), a, y);
  });
  add("production", work(2, 1),
      [=](const float* a, const float*, float* y) { softmax(rows, columns, a, y); });
  return ladder;
}

}  // namespace hashgrad::HASHGRAD_GPU::bench
