// What the device can do at best: one kernel per resource that does nothing else. And the stop watch.
#include <algorithm>

#include "bench/ladders/ladders.h"
#include "core/hash.h"
#include "cuda/gpu.h"
#include "cuda/runtime.h"
#include "cuda/scratch.h"

namespace hashgrad::HASHGRAD_GPU::bench {
namespace {

constexpr int threads = 256, chains = 8;

/// 16 bytes per access, neighbours side by side.
__global__ void copy_kernel(int64_t n, const uint4* from, uint4* to) {
  for (int64_t i = grid_rank(); i < n; i += grid_threads()) to[i] = from[i];
}

/// 8 independent chains per thread, so that no multiply-add waits for the one before it.
__global__ void multiply_add_kernel(int steps, float factor, float* out) {
  float x[chains];
  for (int c = 0; c < chains; ++c) x[c] = static_cast<float>(threadIdx.x + static_cast<unsigned>(c));
  for (int s = 0; s < steps; ++s) {
    GPU_UNROLL
    for (int c = 0; c < chains; ++c) x[c] = fmaf(x[c], factor, 1.0f);
  }
  float sum = 0;
  for (int c = 0; c < chains; ++c) sum += x[c];
  if (sum == -1.0f) *out = sum;  // never, but the compiler cannot know
}

constexpr int hash_instructions = 6;  // xor, multiply, shift, xor, multiply, high half of a product

/// The mix of instructions that places a virtual weight (core/hash.h).
__global__ void integer_kernel(int steps, uint32_t key, uint32_t* out) {
  uint32_t x[chains];
  for (int c = 0; c < chains; ++c) x[c] = threadIdx.x + static_cast<unsigned>(c);
  for (int s = 0; s < steps; ++s) {
    GPU_UNROLL
    for (int c = 0; c < chains; ++c) x[c] = hash_slot(key, x[c], 0xfffffff1u);
  }
  uint32_t sum = 0;
  for (int c = 0; c < chains; ++c) sum ^= x[c];
  if (sum == 0x12345678u) *out = sum;
}

constexpr uint32_t table_words = 4096;

/// Each word of a table in shared memory says which one to read next, so that a lookup is one instruction.
/// `random`: the walk jumps between banks; else it stays in the bank of its lane.
template <bool random>
__global__ void gather_kernel(int steps, uint32_t* out) {
  GPU_SHARED(uint32_t, next, [table_words]);
  for (uint32_t i = threadIdx.x; i < table_words; i += blockDim.x) {
    uint32_t to = (i + 32) % table_words;
    if (random) {  // one to one, so that walks never join
      to = (i * 2741 + 1013) % table_words;
      to ^= to >> 6;
      to = to * 1229 % table_words;
      to ^= to >> 5;
    }
    next[i] = to;
  }
  __syncthreads();
  uint32_t at[chains];
  for (uint32_t c = 0; c < chains; ++c) at[c] = (threadIdx.x + c * threads) % table_words;
  for (int s = 0; s < steps; ++s) {
    GPU_UNROLL
    for (int c = 0; c < chains; ++c) at[c] = next[at[c]];
  }
  uint32_t sum = 0;
  for (int c = 0; c < chains; ++c) sum += at[c];
  if (sum == 0xffffffffu) *out = sum;
}

__global__ void empty_kernel() {}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// Microseconds of one of 200 empty kernels that are started one by one.
double single_launch_us() {
  Event start, end;
  double best = 1e9;
  for (int round = 0; round < 20; ++round) {
    start.record();
    for (int i = 0; i < 200; ++i) launch(empty_kernel, 1, 32, 0);
    end.record();
    best = std::min(best, end.elapsed_ms(start) * 1000 / 200);
  }
  return best;
}

}  // namespace

std::vector<double> replay_times(int works, int rounds, const std::function<void()>& work) {
  work();  // what runs for the first time may set things up that a graph cannot record
  synchronize();
  Graph graph;
  graph.capture(work);
  const Stream stream;
  const StreamScope scope(stream);
  graph.replay();
  std::vector<double> us;
  for (int round = 0; round < rounds; ++round) {
    Event start, end;
    start.record();
    graph.replay();
    end.record();
    us.push_back(end.elapsed_ms(start) * 1000 / works);
  }
  return us;
}

Rates measure_rates() {
  const int64_t blocks = int64_t{properties().multiprocessors} * 8;
  const auto us_of = [](int works, const auto& work) { return median(replay_times(works, 20, work)); };
  const Scratch<uint4> from(int64_t{16} << 20), to(int64_t{16} << 20);  // 256 MiB each
  const auto copy = [&](int64_t n) { launch(copy_kernel, blocks, threads, 0, n, from.data(), to.data()); };
  uint32_t* const out = reinterpret_cast<uint32_t*>(to.data());
  set_bytes(from.data(), 0, size_t{256} << 20);

  Rates rates;
  rates.launch_us = single_launch_us();
  const int64_t large = int64_t{16} << 20, cached = int64_t{512} << 10, lanes = blocks * threads;
  const double launch_us = us_of(100, [] {
    for (int i = 0; i < 100; ++i) launch(empty_kernel, 1, 32, 0);
  });
  rates.per_us.launch = 1 / launch_us;
  rates.per_us.memory = 32.0 * static_cast<double>(large) / us_of(1, [&] { copy(large); });
  rates.per_us.l2 = 32.0 * static_cast<double>(cached) / (us_of(20, [&] {  // 8 MiB to 8 MiB, again and again
                      for (int i = 0; i < 20; ++i) copy(cached);
                    }));
  const int steps = 4096;
  const double operations = static_cast<double>(lanes) * chains * steps;
  rates.per_us.multiply_add =
      2 * operations / us_of(1, [&] {
        launch(multiply_add_kernel, blocks, threads, 0, steps, 0.999f, reinterpret_cast<float*>(out));
      });
  rates.per_us.integer = hash_instructions * operations / us_of(1, [&] {
                           launch(integer_kernel, blocks, threads, 0, steps, 0x9e3779b9u, out);
                         });
  rates.per_us.shared =
      operations / us_of(1, [&] { launch(gather_kernel<false>, blocks, threads, 0, steps, out); });
  rates.per_us.shared_random =
      operations / us_of(1, [&] { launch(gather_kernel<true>, blocks, threads, 0, steps, out); });
  return rates;
}

}  // namespace hashgrad::HASHGRAD_GPU::bench
