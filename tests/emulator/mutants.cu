#include <cmath>
#include <vector>

#include "core/random.h"
#include "cuda/async_copy.h"
#include "cuda/gpu.h"
#include "tests/emulator/mutants.h"

namespace hashgrad::HASHGRAD_GPU::testing {
namespace {

using ::hashgrad::testing::Bug;

// Memory and values of the host's side.

template <class T>
class Buffer {
 public:
  explicit Buffer(const std::vector<T>& values) : bytes_(values.size() * sizeof(T)), data_(allocate(bytes_)) {
    copy_to_device(data_, values.data(), bytes_);
  }
  ~Buffer() { give_back(); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  T* data() const { return static_cast<T*>(data_); }
  void give_back() {
    if (!given_back_) release(data_, bytes_);
    given_back_ = true;
  }
  std::vector<T> get() const {
    std::vector<T> values(bytes_ / sizeof(T));
    copy_to_host(values.data(), data_, bytes_);
    return values;
  }

 private:
  size_t bytes_;
  void* data_;
  bool given_back_ = false;
};

std::vector<float> fractions(size_t n, uint64_t key) {
  Random random(key, ::hashgrad::Stream::test);
  std::vector<float> values(n);
  for (float& v : values) v = random.uniform() - 0.5f;
  return values;
}

bool close(const std::vector<float>& a, const std::vector<float>& b) {
  for (size_t i = 0; i < a.size(); ++i)
    if (!(std::abs(a[i] - b[i]) <= 1e-4f)) return false;
  return true;
}

// A matrix product in tiles.

constexpr int tile = 8;

__global__ void product_kernel(Bug bug, int n, const float* a, const float* b, float* c) {
  GPU_SHARED(float, a_tile, [tile][tile]);
  GPU_SHARED(float, b_tile, [tile][tile]);
  const int x = static_cast<int>(threadIdx.x), y = static_cast<int>(threadIdx.y);
  const int row = static_cast<int>(blockIdx.y) * tile + y, column = static_cast<int>(blockIdx.x) * tile + x;
  if (bug == Bug::static_shared_overrun) a_tile[tile + (n < 0)][x] = 0;
  float sum = 0;
  for (int k = 0; k < n; k += tile) {
    a_tile[y][x] = a[row * n + k + x];
    b_tile[y][x] = b[(k + y) * n + column];
    if (bug != Bug::tile_read_early) __syncthreads();
    for (int i = 0; i < tile; ++i) sum += a_tile[y][i] * b_tile[i][x];
    if (bug != Bug::tile_overwritten_early) __syncthreads();
  }
  c[row * n + column] = sum;
}

bool product_is_right(Bug bug) {
  constexpr size_t n = 24;
  const std::vector<float> a = fractions(n * n, 1), b = fractions(n * n, 2);
  std::vector<float> expected(n * n);
  for (size_t i = 0; i < n; ++i)
    for (size_t j = 0; j < n; ++j)
      for (size_t k = 0; k < n; ++k) expected[i * n + j] += a[i * n + k] * b[k * n + j];
  const Buffer<float> da(a), db(b), dc(std::vector<float>(n * n, 0.0f));
  launch(product_kernel, dim3(n / tile, n / tile), dim3(tile, tile), 0, bug, static_cast<int>(n), da.data(),
         db.data(), dc.data());
  return close(dc.get(), expected);
}

// Softmax of rows, one block each.

struct Larger {
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};
struct Plus {
  __device__ float operator()(float a, float b) const { return a + b; }
};

/// Each Op has an array of its own. The last barrier is needed if it is used again.
template <class Op>
__device__ float reduce(Bug bug, float v, float identity, Op op) {
  GPU_SHARED(float, part, [32]);
  v = warp_reduce(v, op);
  if (lane_id() == 0) part[threadIdx.x / 32] = v;
  if (bug != Bug::reduce_read_early) __syncthreads();
  v = warp_reduce(lane_id() < blockDim.x / 32 ? part[lane_id()] : identity, op);
  if (bug != Bug::control_separate_arrays && bug != Bug::reduce_reused_early) __syncthreads();
  return v;
}

__device__ void stumble(Bug bug) {
  const unsigned thread = threadIdx.x;
  if (bug == Bug::divergent_warp_operation) {
    if (thread % 32 < 7)
      static_cast<void>(__ballot_sync(full_warp, 1));
    else
      __syncwarp();
  }
  if (bug == Bug::lane_outside_mask) __syncwarp(0xffffu);
  if (bug == Bug::divergent_barrier) {
    if (thread < 7)
      __syncthreads();
    else
      __syncthreads();
  }
  if (bug == Bug::deadlock) {
    if (thread < 5)
      __syncwarp(0x3fu);
    else
      __syncthreads();
  }
}

__global__ void softmax_kernel(Bug bug, int n, const float* x, float* y) {
  const float* row = x + blockIdx.x * static_cast<unsigned>(n);
  float* out = y + blockIdx.x * static_cast<unsigned>(n);
  const int first = static_cast<int>(threadIdx.x), step = static_cast<int>(blockDim.x);
  float high = -INFINITY, sum = 0;
  for (int i = first; i < n; i += step) high = fmaxf(high, row[i]);
  high = reduce(bug, high, -INFINITY, Larger{});
  for (int i = first; i < n; i += step) sum += __expf(row[i] - high);
  const bool twice = bug == Bug::reduce_reused_early || bug == Bug::control_reused_array;
  sum = reduce(bug, sum, 0.0f, Plus{});
  if (twice) sum = reduce(bug, first == 0 ? sum : 0.0f, 0.0f, Plus{});
  for (int i = first; i < n; i += step) out[i] = __expf(row[i] - high) / sum;
  stumble(bug);
  if (bug == Bug::global_write_overrun) out[n + first] = 0;  // past the array in the last row
}

bool softmax_is_right(Bug bug) {
  constexpr size_t rows = 3, n = 150;
  const std::vector<float> x = fractions(rows * n, 3);
  std::vector<float> expected(rows * n);
  for (size_t r = 0; r < rows; ++r) {
    float sum = 0;
    for (size_t i = 0; i < n; ++i) sum += std::exp(x[r * n + i]);
    for (size_t i = 0; i < n; ++i) expected[r * n + i] = std::exp(x[r * n + i]) / sum;
  }
  const Buffer<float> dx(x), dy(std::vector<float>(rows * n, 0.0f));
  launch(softmax_kernel, rows, 64, 0, bug, static_cast<int>(n), dx.data(), dy.data());
  return close(dy.get(), expected);
}

// A histogram: shared memory, then global.

__global__ void histogram_kernel(Bug bug, int n, const int* x, unsigned bins, unsigned* counts,
                                 unsigned* any) {
  unsigned* mine = dyn_shared<unsigned>();
  GPU_SHARED(unsigned, seen);
  if (bug != Bug::dynamic_shared_not_written)
    for (unsigned b = threadIdx.x; b < bins; b += blockDim.x) mine[b] = 0;
  if (bug != Bug::static_shared_not_written && threadIdx.x == 0) seen = 0;
  if (bug != Bug::zeroing_not_awaited) __syncthreads();
  for (int64_t i = grid_rank(); i < n; i += grid_threads()) {
    const unsigned v = static_cast<unsigned>(x[i]);
    if (bug == Bug::shared_increment_not_atomic)
      mine[v % bins] += 1;
    else
      atomicAdd(&mine[bug == Bug::dynamic_shared_overrun ? v % (bins + 1) : v % bins], 1u);
    atomicAdd(&seen, 1u);
  }
  if (bug != Bug::counts_read_early) __syncthreads();
  for (unsigned b = threadIdx.x; b < bins; b += blockDim.x) {
    if (bug == Bug::global_add_not_atomic)
      counts[b] += mine[b];
    else
      atomicAdd(&counts[b], mine[b]);
  }
  if (threadIdx.x == 0) atomicAdd(&any[0], seen);
  if (threadIdx.x == 0 && bug == Bug::blocks_store_to_one_place) any[1] = blockIdx.x;
}

bool histogram_is_right(Bug bug) {
  constexpr size_t n = 1000, bins = 31;
  std::vector<int> x(n);
  std::vector<unsigned> expected(bins);
  Random random(4, ::hashgrad::Stream::test);
  for (int& v : x) {
    v = static_cast<int>(random.below(1u << 20));
    ++expected[static_cast<size_t>(v) % bins];
  }
  const Buffer<int> dx(x);
  const Buffer<unsigned> counts(std::vector<unsigned>(bins, 0)), any(std::vector<unsigned>(2, 0));
  launch(histogram_kernel, 4, 64, bins * sizeof(unsigned), bug, static_cast<int>(n), dx.data(),
         static_cast<unsigned>(bins), counts.data(), any.data());
  return counts.get() == expected && any.get()[0] == n;
}

// A gather: no barrier, one thread an element.

__global__ void gather_kernel(Bug bug, int n, int buckets, const float* w, float* v) {
  const int i = static_cast<int>(grid_rank());
  if (bug == Bug::shift_too_far && w[0] * static_cast<float>(1 << (32 + n % 5)) > 1e30f) return;
  if (bug == Bug::global_read_overrun && w[buckets + i % 2] == 12345.0f) return;
  if (i < n) v[i] = __ldg(w + i * 7 % buckets);
}

bool gather_is_right(Bug bug) {
  constexpr int n = 300, buckets = 96;
  const std::vector<float> w = fractions(buckets, 5);
  std::vector<float> expected(n);
  for (size_t i = 0; i < n; ++i) expected[i] = w[i * 7 % buckets];
  Buffer<float> dw(w);
  const Buffer<float> dv(std::vector<float>(n, 0.0f));
  if (bug == Bug::use_after_release) dw.give_back();
  launch(gather_kernel, blocks_for(n, 64), 64, 0, bug, n, buckets, dw.data(), dv.data());
  return close(dv.get(), expected);
}

// Tiles that arrive by cp.async, two at a time.

__global__ void neighbours_kernel(Bug bug, int tiles, const float* x, float* y) {
  GPU_SHARED(float, part, [2][65]);
  const int t = static_cast<int>(threadIdx.x);
  const auto begin = [&](int which) {
    cp_async<4>(&part[which % 2][t], x + which * 64 + t);
    if (t == 0) cp_async<4>(&part[which % 2][64], x + which * 64 + 64);
    cp_async_commit();
  };
  begin(0);
  for (int i = 0; i < tiles; ++i) {
    begin(i + 1 < tiles ? i + 1 : 0);
    if (bug != Bug::copy_not_awaited) cp_async_wait<1>();
    if (bug != Bug::copies_of_others_not_awaited) __syncthreads();
    y[i * 64 + t] = part[i % 2][t] + part[i % 2][t + 1];
    __syncthreads();
  }
  cp_async_wait<0>();
}

bool neighbours_are_right(Bug bug) {
  constexpr size_t tiles = 4, n = tiles * 64;
  const std::vector<float> x = fractions(n + 1, 6);
  std::vector<float> expected(n);
  for (size_t i = 0; i < n; ++i) expected[i] = x[i] + x[i + 1];
  const Buffer<float> dx(x), dy(std::vector<float>(n, 0.0f));
  launch(neighbours_kernel, 1, 64, 0, bug, static_cast<int>(tiles), dx.data(), dy.data());
  return close(dy.get(), expected);
}

// Lanes of a warp that talk through shared memory.

__global__ void turn_kernel(Bug bug, const float* x, float* y) {
  GPU_SHARED(float, row, [2][32]);
  const unsigned warp = threadIdx.x / 32, lane = lane_id();
  row[warp][lane] = x[threadIdx.x];
  if (bug != Bug::syncwarp_missing) __syncwarp();
  y[threadIdx.x] = row[warp][(lane + 1) % 32];
}

bool turn_is_right(Bug bug) {
  const std::vector<float> x = fractions(64, 7);
  std::vector<float> expected(64);
  for (size_t i = 0; i < 64; ++i) expected[i] = x[i / 32 * 32 + (i + 1) % 32];
  const Buffer<float> dx(x), dy(std::vector<float>(64, 0.0f));
  launch(turn_kernel, 1, 64, 0, bug, dx.data(), dy.data());
  return close(dy.get(), expected);
}

}  // namespace

bool run_mutant(Bug bug) {
  bool right = product_is_right(bug);
  right &= softmax_is_right(bug);
  right &= histogram_is_right(bug);
  right &= gather_is_right(bug);
  right &= neighbours_are_right(bug);
  right &= turn_is_right(bug);
  return right;
}

}  // namespace hashgrad::HASHGRAD_GPU::testing
