#include "cuda/async_copy.h"
#include "cuda/gpu.h"
#include "cuda/mma.h"
#include "tests/emulator/kernels.h"

namespace hashgrad::HASHGRAD_GPU::testing {
namespace {

constexpr int run = 128;

struct Plus {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};

__global__ void reverse_runs_kernel(int* x) {
  int* shared = dyn_shared<int>();
  const unsigned at = blockIdx.x * blockDim.x + threadIdx.x;
  shared[threadIdx.x] = x[at];
  __syncthreads();
  x[at] = shared[blockDim.x - 1 - threadIdx.x];
}

__global__ void transpose_kernel(unsigned n, const float* x, float* y) {
  GPU_SHARED(float, tile, [16][17]);
  const unsigned row = blockIdx.y * 16, column = blockIdx.x * 16;
  if (row + threadIdx.y < n && column + threadIdx.x < n)
    tile[threadIdx.y][threadIdx.x] = x[(row + threadIdx.y) * n + column + threadIdx.x];
  __syncthreads();
  if (column + threadIdx.y < n && row + threadIdx.x < n)
    y[(column + threadIdx.y) * n + row + threadIdx.x] = tile[threadIdx.x][threadIdx.y];
}

__global__ void shuffles_kernel(const int* in, int* out) {
  const int lane = static_cast<int>(lane_id()), v = in[lane];
  out[lane] = __shfl_sync(full_warp, v, 5);
  out[32 + lane] = __shfl_xor_sync(full_warp, v, 3);
  out[64 + lane] = __shfl_up_sync(full_warp, v, 2);
  out[96 + lane] = __shfl_down_sync(full_warp, v, 2);
  out[128 + lane] = __shfl_xor_sync(full_warp, v, 3, 8);
  out[160 + lane] = __shfl_up_sync(full_warp, v, 2, 8);
  out[192 + lane] = __shfl_down_sync(full_warp, v, 2, 8);
}

__global__ void votes_kernel(const int* in, unsigned* out) {
  const unsigned lane = lane_id();
  const int v = in[lane];
  out[lane] = __ballot_sync(full_warp, v % 2);
  out[32 + lane] = static_cast<unsigned>(__any_sync(full_warp, v == 7));
  out[64 + lane] = static_cast<unsigned>(__all_sync(full_warp, v < 100));
  out[96 + lane] = __match_any_sync(full_warp, v);
}

__global__ void block_votes_kernel(const int* x, int* out) {
  const int v = x[threadIdx.x];
  const int odd = __syncthreads_count(v % 2), positive = __syncthreads_and(v > 0),
            seven = __syncthreads_or(v == 7);
  if (threadIdx.x != blockDim.x - 1) return;
  out[0] = odd;
  out[1] = positive;
  out[2] = seven;
}

__global__ void atomics_kernel(int n, const int* x, int* ints, unsigned long long* big, float* single,
                               double* twice) {
  const int i = static_cast<int>(grid_rank());
  if (i >= n) return;
  atomicAdd(&ints[0], x[i]);
  atomicMax(&ints[1], x[i]);
  atomicMin(&ints[2], x[i]);
  atomicOr(&ints[3], 1 << (x[i] & 15));
  for (int seen = 0;;) {
    const int before = atomicCAS(&ints[4], seen, seen + 1);
    if (before == seen) break;
    seen = before;
  }
  atomicAdd(big, 1ull << 33);
  atomicAdd(single, 1.0f);
  atomicAdd(twice, 0.5);
}

__global__ void histogram_kernel(int n, const int* x, int bins, unsigned* counts) {
  unsigned* mine = dyn_shared<unsigned>();
  for (int b = static_cast<int>(threadIdx.x); b < bins; b += static_cast<int>(blockDim.x)) mine[b] = 0;
  __syncthreads();
  for (int64_t i = grid_rank(); i < n; i += grid_threads()) atomicAdd(&mine[x[i]], 1u);
  __syncthreads();
  for (int b = static_cast<int>(threadIdx.x); b < bins; b += static_cast<int>(blockDim.x))
    atomicAdd(&counts[b], mine[b]);
}

__global__ void sums_kernel(const float* x, float* of_warp, float* of_block) {
  const float v = x[grid_rank()];
  const float warp = warp_reduce(v, Plus{});
  if (lane_id() == 0) of_warp[grid_rank() / 32] = warp;
  const float block = block_reduce(v, 0.0f, Plus{});
  if (threadIdx.x == blockDim.x - 1) of_block[blockIdx.x] = block;
}

struct Place {
  float value;
  int index;
};
struct Better {
  __device__ Place operator()(Place a, Place b) const {
    const bool first = a.value > b.value || (a.value == b.value && a.index < b.index);
    return first ? a : b;
  }
};

__global__ void argmax_kernel(int columns, const float* x, float* value, int* index) {
  const float* row = x + int64_t{blockIdx.x} * columns;
  Place best = {-INFINITY, columns};
  for (int c = static_cast<int>(threadIdx.x); c < columns; c += static_cast<int>(blockDim.x))
    best = Better{}(best, Place{row[c], c});
  best = block_reduce(best, Place{-INFINITY, columns}, Better{});
  if (threadIdx.x != 0) return;
  value[blockIdx.x] = best.value;
  index[blockIdx.x] = best.index;
}

__global__ void sum_at_once_kernel(int n, const float* x, float* partial, unsigned* ticket, float* sum) {
  GPU_SHARED(bool, last);
  const int64_t i = grid_rank();
  const float mine = block_reduce(i < n ? x[i] : 0.0f, 0.0f, Plus{});
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = mine;
    __threadfence();
    last = atomicAdd(ticket, 1u) == gridDim.x - 1;
  }
  __syncthreads();
  if (!last) return;
  __threadfence();
  float all = 0;
  for (unsigned b = threadIdx.x; b < gridDim.x; b += blockDim.x) all += __ldcg(&partial[b]);
  all = block_reduce(all, 0.0f, Plus{});
  if (threadIdx.x != 0) return;
  *sum = all;
  atomicExch(ticket, 0u);
}

// Tiles of 64 and one more, so many for each block; two buffers.
__global__ void add_neighbours_kernel(int tiles, const float* x, float* y) {
  GPU_SHARED(float, tile, [2][65]);
  const int t = static_cast<int>(threadIdx.x);
  x += blockIdx.x * 64 * tiles;
  y += blockIdx.x * 64 * tiles;
  const auto begin = [&](int which) {
    cp_async<4>(&tile[which % 2][t], x + which * 64 + t);
    if (t == 0) cp_async<4>(&tile[which % 2][64], x + which * 64 + 64);
  };
  begin(0);
  cp_async_commit();
  for (int i = 0; i < tiles; ++i) {
    if (i + 1 < tiles) begin(i + 1);
    cp_async_commit();
    cp_async_wait<1>();
    __syncthreads();
    y[i * 64 + t] = tile[i % 2][t] + tile[i % 2][t + 1];
    __syncthreads();
  }
}

__global__ void mma_bf16_kernel(const float* a, const float* b, float* c) {
  GPU_SHARED(uint4, a_rows, [16][2]);  // rows of 16 bf16
  GPU_SHARED(uint4, b_rows, [16]);     // rows of 8
  auto* words = reinterpret_cast<unsigned*>(a_rows);
  for (unsigned i = threadIdx.x; i < 128; i += 32) words[i] = pack_bf16(a[2 * i], a[2 * i + 1]);
  words = reinterpret_cast<unsigned*>(b_rows);
  for (unsigned i = threadIdx.x; i < 64; i += 32) words[i] = pack_bf16(b[2 * i], b[2 * i + 1]);
  __syncwarp();
  const unsigned lane = lane_id(), row = lane % 16, half = lane / 16;
  unsigned fa[4], fb[4];
  ldmatrix_x4(fa, &a_rows[row][half]);
  ldmatrix_x4_transposed(fb, &b_rows[row]);  // the second half of the lanes loads the same again
  float d[4] = {};
  const unsigned two[2] = {fb[0], fb[1]};
  mma_bf16_16x8x16(d, fa, two);
  for (unsigned i = 0; i < 4; ++i) c[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = d[i];
}

__global__ void mma_tf32_kernel(const float* a, const float* b, float* c) {
  const unsigned lane = lane_id(), g = lane / 4, t = lane % 4;
  unsigned fa[4], fb[2];
  for (unsigned i = 0; i < 4; ++i) fa[i] = tf32_bits(a[(g + i % 2 * 8) * 8 + t + i / 2 * 4]);
  for (unsigned i = 0; i < 2; ++i) fb[i] = tf32_bits(b[(t + i * 4) * 8 + g]);
  float d[4] = {};
  mma_tf32_16x8x8(d, fa, fb);
  for (unsigned i = 0; i < 4; ++i) c[(g + i / 2 * 8) * 8 + t * 2 + i % 2] = d[i];
}

__global__ void bits_kernel(unsigned x, unsigned* out) {
  out[0] = static_cast<unsigned>(__popc(x));
  out[1] = static_cast<unsigned>(__clz(static_cast<int>(x)));
  out[2] = static_cast<unsigned>(__ffs(static_cast<int>(x)));
  out[3] = __brev(x);
  out[4] = __umulhi(x, 3 * x);
  out[5] = __float_as_uint(__uint_as_float(x));
  out[6] = static_cast<unsigned>(__double_as_longlong(__longlong_as_double(x)));
  out[7] = bf16_bits(1.00390625f);  // a tie between 1 and the next: to even
  out[8] = tf32_bits(1.0f + 0x1p-11f);
  out[9] = __float_as_uint(fmaf(2.0f, 0.5f, 1.0f));
  out[10] = tf32_bits(__uint_as_float(x >> 8 | 0x3f800000u));  // not folded by the compiler
}

__global__ void add_one_kernel(int64_t n, float* x) {
  for (int64_t i = grid_rank(); i < n; i += grid_threads()) x[i] += 1;
}

__global__ void many_barriers_kernel(int repeats, int* out) {
  int sum = 0;
  for (int i = 0; i < repeats; ++i) {
    __syncthreads();
    sum += i;
  }
  out[grid_rank()] = sum;
}

__global__ void big_shared_kernel(float* x) {
  float* shared = dyn_shared<float>();
  for (unsigned i = threadIdx.x; i < 16384; i += blockDim.x) shared[i] = static_cast<float>(i);
  __syncthreads();
  x[threadIdx.x] = shared[16383 - threadIdx.x];
}

__global__ void failing_kernel(Failure failure) {
  const bool odd = threadIdx.x % 2 != 0;
  if (failure == Failure::divergent_barrier) {
    if (odd)
      __syncthreads();
    else
      __syncthreads();
  }
  if (failure == Failure::lane_outside_mask) __syncwarp(0x0fffffffu);
  if (failure == Failure::deadlock) {
    if (threadIdx.x < 5)
      __syncwarp(0x3fu);
    else
      __syncthreads();
  }
  if (failure == Failure::divergent_lanes) {
    if (odd)
      __syncwarp();
    else
      static_cast<void>(__ballot_sync(full_warp, 1));
  }
}

}  // namespace

void reverse_runs(int n, int* x) { launch(reverse_runs_kernel, n / run, run, run * sizeof(int), x); }

void transpose(int n, const float* x, float* y) {
  const unsigned tiles = static_cast<unsigned>(n + 15) / 16;
  launch(transpose_kernel, dim3(tiles, tiles), dim3(16, 16), 0, static_cast<unsigned>(n), x, y);
}

void shuffles(const int* in, int* out) { launch(shuffles_kernel, 1, 32, 0, in, out); }
void votes(const int* in, unsigned* out) { launch(votes_kernel, 1, 32, 0, in, out); }
void block_votes(int n, const int* x, int* out) { launch(block_votes_kernel, 1, n, 0, x, out); }

void atomics(int n, const int* x, int* ints, unsigned long long* big, float* single, double* twice) {
  launch(atomics_kernel, blocks_for(n, 64), 64, 0, n, x, ints, big, single, twice);
}
void histogram(int n, const int* x, int bins, unsigned* counts) {
  launch(histogram_kernel, 8, run, static_cast<size_t>(bins) * sizeof(unsigned), n, x, bins, counts);
}

void sums(int n, const float* x, float* of_warp, float* of_block) {
  launch(sums_kernel, n / run, run, 0, x, of_warp, of_block);
}
void argmax(int rows, int columns, const float* x, float* value, int* index) {
  launch(argmax_kernel, rows, run, 0, columns, x, value, index);
}
void sum_at_once(int n, const float* x, float* partial, unsigned* ticket, float* sum) {
  launch(sum_at_once_kernel, blocks_for(n, run), run, 0, n, x, partial, ticket, sum);
}

void add_neighbours(int n, const float* x, float* y) {
  launch(add_neighbours_kernel, 2, 64, 0, n / 128, x, y);
}
void mma_bf16(const float* a, const float* b, float* c) { launch(mma_bf16_kernel, 1, 32, 0, a, b, c); }
void mma_tf32(const float* a, const float* b, float* c) { launch(mma_tf32_kernel, 1, 32, 0, a, b, c); }

void bits(unsigned x, unsigned* out) { launch(bits_kernel, 1, 1, 0, x, out); }
void add_one(int64_t n, float* x) { launch(add_one_kernel, blocks_for(n, 64), 64, 0, n, x); }
void many_barriers(int blocks, int threads, int repeats, int* out) {
  launch(many_barriers_kernel, blocks, threads, 0, repeats, out);
}

void launch_too_many_threads(float* x) { launch(add_one_kernel, 1, 2048, 0, 1, x); }
void launch_too_much_shared(float* x) { launch(add_one_kernel, 1, 32, size_t{1} << 20, 1, x); }
void launch_nothing(float* x) { launch(add_one_kernel, 0, 32, 0, 0, x); }

void big_shared(int n, float* x) { launch(big_shared_kernel, 1, n, 64 << 10, x); }

void fail_in_kernel(Failure failure) { launch(failing_kernel, 3, 64, 0, failure); }

}  // namespace hashgrad::HASHGRAD_GPU::testing
