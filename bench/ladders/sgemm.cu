// C = A B in float32, from one thread per element to the production kernel. docs/kernels/sgemm.md has the
// steps.
//
// A is [m,k], B is [k,n], C is [m,n], row-major, of any size. Beyond the edges tiles are filled with zeros.
#include "bench/ladders/ladders.h"
#include "cpu/gemm.h"
#include "cuda/async_copy.h"
#include "cuda/gemm.h"
#include "cuda/gpu.h"

namespace hashgrad::HASHGRAD_GPU::bench {
namespace {

struct Product {
  int m, n, k;
  const float *a, *b;  // [m,k], [k,n]
  float* c;            // [m,n]

  __device__ float a_at(int i, int d) const { return i < m && d < k ? a[int64_t{i} * k + d] : 0.0f; }
  __device__ float b_at(int d, int j) const { return d < k && j < n ? b[int64_t{d} * n + j] : 0.0f; }
  __device__ void put(int i, int j, float value) const {
    if (i < m && j < n) c[int64_t{i} * n + j] = value;
  }
};

__device__ __forceinline__ int thread_x() { return static_cast<int>(threadIdx.x); }
__device__ __forceinline__ int thread_y() { return static_cast<int>(threadIdx.y); }
__device__ __forceinline__ int block_x() { return static_cast<int>(blockIdx.x); }
__device__ __forceinline__ int block_y() { return static_cast<int>(blockIdx.y); }

/// 1. A thread per element; the 32 threads of a warp have 32 different rows, so that each load of A and each
/// store of C touches 32 lines of memory.
__global__ void naive(Product p) {
  const int i = block_x() * 32 + thread_x(), j = block_y() * 32 + thread_y();
  if (i >= p.m || j >= p.n) return;
  float sum = 0;
  for (int d = 0; d < p.k; ++d) sum += p.a[int64_t{i} * p.k + d] * p.b[int64_t{d} * p.n + j];
  p.c[int64_t{i} * p.n + j] = sum;
}

/// 2. The same with x and y exchanged: a warp has 32 neighbouring columns, one line of B and C, one element
/// of A.
__global__ void coalesced(Product p) {
  const int j = block_x() * 32 + thread_x(), i = block_y() * 32 + thread_y();
  if (i >= p.m || j >= p.n) return;
  float sum = 0;
  for (int d = 0; d < p.k; ++d) sum += p.a[int64_t{i} * p.k + d] * p.b[int64_t{d} * p.n + j];
  p.c[int64_t{i} * p.n + j] = sum;
}

/// 3. A block brings 32 x 32 of A and of B to shared memory and uses each element 32 times.
__global__ void shared_tile(Product p) {
  GPU_SHARED(float, a, [32][32]);
  GPU_SHARED(float, b, [32][32]);
  const int x = thread_x(), y = thread_y(), i = block_y() * 32 + y, j = block_x() * 32 + x;
  float sum = 0;
  for (int d0 = 0; d0 < p.k; d0 += 32) {
    a[y][x] = p.a_at(i, d0 + x);
    b[y][x] = p.b_at(d0 + y, j);
    __syncthreads();
    GPU_UNROLL
    for (int d = 0; d < 32; ++d) sum += a[y][d] * b[d][x];
    __syncthreads();
  }
  p.put(i, j, sum);
}

/// 4. A thread has 8 elements of one column: what it takes from B it uses 8 times. Block: 64 x 64, 512
/// threads.
__global__ void __launch_bounds__(512) column_of_8(Product p) {
  GPU_SHARED(float, a, [64][8]);
  GPU_SHARED(float, b, [8][64]);
  const int t = thread_x(), x = t % 64, y = t / 64, i0 = block_y() * 64, j0 = block_x() * 64;
  float sums[8] = {};
  for (int d0 = 0; d0 < p.k; d0 += 8) {
    a[t / 8][t % 8] = p.a_at(i0 + t / 8, d0 + t % 8);
    b[y][x] = p.b_at(d0 + y, j0 + x);
    __syncthreads();
    GPU_UNROLL
    for (int d = 0; d < 8; ++d) {
      const float right = b[d][x];
      GPU_UNROLL
      for (int r = 0; r < 8; ++r) sums[r] += a[y * 8 + r][d] * right;
    }
    __syncthreads();
  }
  GPU_UNROLL
  for (int r = 0; r < 8; ++r) p.put(i0 + y * 8 + r, j0 + x, sums[r]);
}

/// 5. A thread has 8 x 8 elements: 16 reads of shared memory for 64 multiply-adds. Block: 128 x 128, 256
/// threads.
__global__ void __launch_bounds__(256) square_of_8(Product p) {
  GPU_SHARED(float, a, [128][8]);
  GPU_SHARED(float, b, [8][128]);
  const int t = thread_x(), x = t % 16, y = t / 16, i0 = block_y() * 128, j0 = block_x() * 128;
  float sums[8][8] = {};
  for (int d0 = 0; d0 < p.k; d0 += 8) {
    GPU_UNROLL
    for (int e = t; e < 1024; e += 256) {
      a[e / 8][e % 8] = p.a_at(i0 + e / 8, d0 + e % 8);
      b[e / 128][e % 128] = p.b_at(d0 + e / 128, j0 + e % 128);
    }
    __syncthreads();
    GPU_UNROLL
    for (int d = 0; d < 8; ++d) {
      float left[8], right[8];
      GPU_UNROLL
      for (int r = 0; r < 8; ++r) left[r] = a[y * 8 + r][d], right[r] = b[d][x * 8 + r];
      GPU_UNROLL
      for (int r = 0; r < 8; ++r) {
        GPU_UNROLL
        for (int s = 0; s < 8; ++s) sums[r][s] += left[r] * right[s];
      }
    }
    __syncthreads();
  }
  GPU_UNROLL
  for (int r = 0; r < 8; ++r) {
    GPU_UNROLL
    for (int s = 0; s < 8; ++s) p.put(i0 + y * 8 + r, j0 + x * 8 + s, sums[r][s]);
  }
}

/// Four neighbours of a row of `length`, zeros beyond its end: one load of 16 bytes where the row allows it.
__device__ __forceinline__ float4 load4(const float* row, int at, int length) {
  if (length % 4 == 0) return at < length ? *reinterpret_cast<const float4*>(row + at) : float4{0, 0, 0, 0};
  float v[4];
  for (int i = 0; i < 4; ++i) v[i] = at + i < length ? row[at + i] : 0.0f;
  return float4{v[0], v[1], v[2], v[3]};
}
__device__ __forceinline__ void unpack(const float4& v, float* to) {
  to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
}

/// 6. Loads of 16 bytes everywhere. A is turned round on its way, so that 8 rows of one depth are neighbours
/// too; a thread's columns are two groups of 4, 64 apart, so that 8 lanes side by side read 128 bytes side by
/// side.
__global__ void __launch_bounds__(256) vectors(Product p) {
  GPU_SHARED(float4, a4, [8][32]);  // [depth][128 rows]
  GPU_SHARED(float4, b4, [8][32]);  // [depth][128 columns]
  const int t = thread_x(), x = t % 16, y = t / 16, i0 = block_y() * 128, j0 = block_x() * 128;
  float* const a = &a4[0][0].x;
  float sums[8][8] = {};
  for (int d0 = 0; d0 < p.k; d0 += 8) {
    float v[4] = {};
    if (i0 + t / 2 < p.m) unpack(load4(p.a + int64_t{i0 + t / 2} * p.k, d0 + t % 2 * 4, p.k), v);
    for (int e = 0; e < 4; ++e) a[(t % 2 * 4 + e) * 128 + t / 2] = v[e];
    const int d = d0 + t / 32;
    b4[t / 32][t % 32] = d < p.k ? load4(p.b + int64_t{d} * p.n, j0 + t % 32 * 4, p.n) : float4{0, 0, 0, 0};
    __syncthreads();
    GPU_UNROLL
    for (int depth = 0; depth < 8; ++depth) {
      float left[8], right[8];
      unpack(a4[depth][y * 2], left), unpack(a4[depth][y * 2 + 1], left + 4);
      unpack(b4[depth][x], right), unpack(b4[depth][x + 16], right + 4);
      GPU_UNROLL
      for (int r = 0; r < 8; ++r) {
        GPU_UNROLL
        for (int s = 0; s < 8; ++s) sums[r][s] += left[r] * right[s];
      }
    }
    __syncthreads();
  }
  GPU_UNROLL
  for (int r = 0; r < 8; ++r) {
    GPU_UNROLL
    for (int s = 0; s < 8; ++s) p.put(i0 + y * 8 + r, j0 + x * 4 + s % 4 + s / 4 * 64, sums[r][s]);
  }
}

/// Begins to copy four neighbours of a row; zeros outside.
__device__ __forceinline__ void copy4(float4* to, const float* row, int at, int length, bool inside) {
  if (length % 4 == 0) {
    inside = inside && at < length;
    cp_async<16>(to, inside ? row + at : row, inside);
  } else {
    for (int i = 0; i < 4; ++i) {
      const bool there = inside && at + i < length;
      cp_async<4>(&to->x + i, there ? row + at + i : row, there);
    }
  }
}

/// 7. The next tile is copied while this one is multiplied, by cp.async, past the registers, and one barrier
/// per tile is enough. Such a copy cannot turn A round: it lies by rows, and four depths are taken at once.
__global__ void __launch_bounds__(256) double_buffer(Product p) {
  GPU_SHARED(float4, a, [2][128][2]);  // [128 rows][8 depths]
  GPU_SHARED(float4, b, [2][8][32]);   // [8 depths][128 columns]
  const int t = thread_x(), x = t % 16, y = t / 16, i0 = block_y() * 128, j0 = block_x() * 128;
  const auto bring = [&](int to, int d0) {
    const int i = i0 + t / 2, d = d0 + t / 32;
    copy4(&a[to][t / 2][t % 2], i < p.m ? p.a + int64_t{i} * p.k : p.a, d0 + t % 2 * 4, p.k, i < p.m);
    copy4(&b[to][t / 32][t % 32], d < p.k ? p.b + int64_t{d} * p.n : p.b, j0 + t % 32 * 4, p.n, d < p.k);
    cp_async_commit();
  };
  float sums[8][8] = {};
  bring(0, 0);
  for (int d0 = 0, now = 0; d0 < p.k; d0 += 8, now ^= 1) {
    cp_async_wait<0>();
    __syncthreads();  // this tile is there, and nobody reads the other one any more
    if (d0 + 8 < p.k) bring(now ^ 1, d0 + 8);
    GPU_UNROLL
    for (int half = 0; half < 2; ++half) {
      float left[8][4];
      GPU_UNROLL
      for (int r = 0; r < 8; ++r) unpack(a[now][y * 8 + r][half], left[r]);
      GPU_UNROLL
      for (int d = 0; d < 4; ++d) {
        float right[8];
        unpack(b[now][half * 4 + d][x], right), unpack(b[now][half * 4 + d][x + 16], right + 4);
        GPU_UNROLL
        for (int r = 0; r < 8; ++r) {
          GPU_UNROLL
          for (int s = 0; s < 8; ++s) sums[r][s] += left[r][d] * right[s];
        }
      }
    }
  }
  GPU_UNROLL
  for (int r = 0; r < 8; ++r) {
    GPU_UNROLL
    for (int s = 0; s < 8; ++s) p.put(i0 + y * 8 + r, j0 + x * 4 + s % 4 + s / 4 * 64, sums[r][s]);
  }
}

/// A grid of blocks of `tile` x `tile` elements; x runs along the columns, or along the rows when `turned`.
dim3 tiles(int64_t m, int64_t n, int64_t tile, bool turned = false) {
  const unsigned down = static_cast<unsigned>(blocks_for(m, tile)),
                 across = static_cast<unsigned>(blocks_for(n, tile));
  return turned ? dim3(down, across) : dim3(across, down);
}

}  // namespace

Ladder sgemm_ladder(int64_t m, int64_t n, int64_t k) {
  check(m >= 1 && n >= 1 && k >= 1 && m < 1 << 20 && n < 1 << 20 && k < 1 << 20,
        "sgemm ladder: [{},{}] x [{},{}]", m, k, k, n);
  const double products = static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  const double bytes = 4 * static_cast<double>(m * k + k * n + m * n);
  Ladder ladder{.name = "sgemm",
                .formula = "Y = A B, A [m,k], B [k,n]",
                .extents = {{"m", m}, {"n", n}, {"k", k}},
                .a = m * k,
                .b = k * n,
                .y = m * n,
                .work = {.memory = bytes, .multiply_add = 2 * products},
                .flops = 2 * products,
                .reference = {},
                .rungs = {}};
  ladder.reference = [=](const float* a, const float* b, float* y) {
    cpu::gemm(false, false, m, n, k, a, k, b, n, y, n);
  };
  // l2: bytes that blocks ask for; shared: words that lanes read, a broadcast to a whole warp counted as one
  // word of 32.
  const auto add = [&](const char* idea, double l2_bytes, double shared_words, auto kernel, dim3 grid,
                       dim3 block) {
    Program run = [=](const float* a, const float* b, float* y) {
      const Product p{static_cast<int>(m), static_cast<int>(n), static_cast<int>(k), a, b, y};
      launch(kernel, grid, block, 0, p);
    };
    ladder.rungs.push_back({idea,
                            std::move(run),
                            {.memory = bytes,
                             .l2 = l2_bytes * products,
                             .multiply_add = 2 * products,
                             .shared = shared_words * products},
                            1e-5});
  };
  const dim3 plane(32, 32);
  add("a thread per element", 33.0, 0, naive, tiles(m, n, 32, true), plane);
  add("coalesced: a warp along a row", 4.0 + 1.0, 0, coalesced, tiles(m, n, 32), plane);
  add("tile in shared memory", 8.0 / 32, 2, shared_tile, tiles(m, n, 32), plane);
  add("8 elements per thread", 8.0 / 64, 1 + 1.0 / 8, column_of_8, tiles(m, n, 64), dim3(512));
  add("8 x 8 elements per thread", 8.0 / 128, 2.0 / 8, square_of_8, tiles(m, n, 128), dim3(256));
  add("loads of 16 bytes", 8.0 / 128, 2.0 / 8, vectors, tiles(m, n, 128), dim3(256));
  add("cp.async, two buffers", 8.0 / 128, 2.0 / 8, double_buffer, tiles(m, n, 128), dim3(256));
  ladder.rungs.push_back(
      {"production",
       [=](const float* a, const float* b, float* y) { gemm(false, false, m, n, k, a, k, b, n, y, n); },
       {.memory = bytes,
        .l2 = 8.0 / 128 * products,
        .multiply_add = 2 * products,
        .shared = 2.0 / 8 * products},
       1e-5});
  return ladder;
}

}  // namespace hashgrad::HASHGRAD_GPU::bench
