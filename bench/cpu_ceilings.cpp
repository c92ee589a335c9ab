#include "bench/cpu_ceilings.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <limits>
#include <unistd.h>

#include "core/math_mode.h"
#include "core/parallel.h"
#include "core/random.h"
#include "cpu/gemm.h"
#include "cpu/gemm_pairs.h"
#include "cpu/hash_kernels.h"
#include "cpu/kernels.h"
#include "cpu/scratch.h"

namespace hashgrad::bench {
namespace {

constexpr double word = sizeof(float);

/// Multiply-adds of float32 in registers: one tile of C over and over, on every thread, its operands in L1.
double multiply_add_ceiling(CpuSize size) {
  const cpu::GemmKernels<float>& kernel = cpu::gemm_kernels().of<float>();
  const int64_t depth = 320, repeats = size == CpuSize::full ? 2000 : 1, n = threads();
  const Tensor a = values(depth * kernel.mr), b = values(depth * kernel.nr);
  Tensor c = values(n * kernel.mr * kernel.nr);
  const auto tile = [&](int64_t thread) {
    float* mine = c.data<float>() + thread * kernel.mr * kernel.nr;
    for (int64_t i = 0; i < repeats; ++i)
      kernel.block({kernel.mr, kernel.nr, depth, a.data<float>(), b.data<float>(), mine, kernel.nr, nullptr,
                    nullptr, false, false});
  };
  const double flops = 2.0 * static_cast<double>(depth * kernel.mr * kernel.nr * repeats * n);
  return flops / best_seconds([&] { parallel_for(n, tile); }, size);
}

/// The same of bf16 parts: the panels of a 32 x 32 square, in L1, and as many products of parts as a product
/// has.
double pair_ceiling(int parts, CpuSize size) {
  const int64_t depth = 128, repeats = size == CpuSize::full ? 2000 : 1, n = threads();
  const int64_t words = cpu::pair_panel_words(depth, parts),
                square = cpu::pair_sums(cpu::pair_panel, cpu::pair_panel);
  const Tensor numbers = values(cpu::pair_panel * depth);
  const cpu::PairSource source{numbers.data<float>(), depth, 1, cpu::pair_panel, depth, parts};
  const cpu::Scratch<uint32_t> a(words), b(words);  // aligned: a tile's row across two lines is two reads
  cpu::pair_kernels().pack_a(source, a.data());
  cpu::pair_kernels().pack_b(source, b.data());
  Tensor sums = values(n * square);
  const auto tile = [&](int64_t thread) {
    const cpu::PairTiles tiles;
    for (int64_t i = 0; i < repeats; ++i)
      cpu::pair_kernels().block({cpu::pair_panel, cpu::pair_panel, depth, parts, a.data(), b.data(),
                                 sums.data<float>() + thread * square, true, false, nullptr, 0, nullptr,
                                 nullptr, false, false});
  };
  const double flops = 2.0 * static_cast<double>(cpu::pair_panel * cpu::pair_panel * depth * repeats * n);
  return flops / best_seconds([&] { parallel_for(n, tile); }, size);
}

/// Of products in the arithmetic of math_mode().
double product_ceiling(CpuSize size) {
  const int parts = cpu::parts_of(math_mode());
  return parts > 0 ? pair_ceiling(parts, size) : multiply_add_ceiling(size);
}

/// Every thread copies its part of `bytes` / 2, as often as makes the start of a loop cheap beside it: by the
/// C library, which is fast in caches, or by a plain loop, often faster beyond.
CpuCeilings::Copy copy_ceiling(int64_t bytes, CpuSize size) {
  const int64_t n = threads(), part = bytes / 2 / n / static_cast<int64_t>(word);
  const int64_t repeats = size == CpuSize::full ? std::max<int64_t>(1, (int64_t{32} << 20) / bytes) : 1;
  const Tensor from = values(part * n);
  Tensor to = values(part * n);
  const auto seconds_with = [&](const auto& copy) {
    const auto work = [&](int64_t thread) {
      for (int64_t i = 0; i < repeats; ++i)
        copy(from.data<float>() + thread * part, to.data<float>() + thread * part);
    };
    return best_seconds([&] { parallel_for(n, work); }, size);
  };
  const double library = seconds_with([part](const float* source, float* target) {
    std::memcpy(target, source, static_cast<size_t>(part) * sizeof(float));
  });
  const double loop = seconds_with([part](const float* source, float* target) {
    for (int64_t i = 0; i < part; ++i) target[i] = -source[i];
  });
  const double touched = 2 * word * static_cast<double>(part * n);
  return {touched, touched * static_cast<double>(repeats) / std::min(library, loop)};
}

/// What half of every second-level cache holds, then more and more of main memory.
std::vector<CpuCeilings::Copy> copy_ceilings(CpuSize size) {
  const int64_t l2 = std::max<int64_t>(sysconf(_SC_LEVEL2_CACHE_SIZE), 512 << 10);
  std::vector<CpuCeilings::Copy> copies{copy_ceiling(threads() * l2 / 2, size)};
  for (const int64_t mib : {16, 64, 256, 1024})
    copies.push_back(copy_ceiling((mib << 20) / (size == CpuSize::full ? 1 : 128), size));
  return copies;
}

/// Rows of slots that are at hand, on every thread: without the hash.
CpuCeilings::Table table_ceiling(int64_t buckets, CpuSize size) {
  const cpu::HashKernels<float>& kernel = cpu::hash_kernels().of<float>();
  const cpu::HashedMatrix v = hashed_matrix(buckets);
  const int64_t n = threads(), length = hashed_inputs, repeats = size == CpuSize::full ? 64 : 1;
  std::vector<uint32_t> slots;
  for (int64_t row = 0; row < n * repeats; ++row)
    for (int64_t j = 0; j < length; ++j) slots.push_back(v.slot(row % hashed_outputs, j));
  Tensor w = values(n * buckets), line = values(n * length);
  const auto each_row = [&](const auto& use) {
    return best_seconds(
        [&] {
          parallel_for(n, [&](int64_t thread) {
            for (int64_t i = 0; i < repeats; ++i)
              use(slots.data() + (thread * repeats + i) * length, w.data<float>() + thread * buckets,
                  line.data<float>() + thread * length);
          });
        },
        size);
  };
  const auto gather = [&](const uint32_t* row, float* table, float* out) {
    kernel.gather(row, length, table, out);
  };
  const auto scatter = [&](const uint32_t* row, float* table, float* in) {
    kernel.scatter(row, length, in, table);
  };
  const double count = static_cast<double>(n * repeats * length);
  return {buckets, count / each_row(gather), count / each_row(scatter)};
}

}  // namespace

Tensor values(int64_t n) {
  constexpr int64_t period = 4099;
  Tensor t = Tensor::empty({n});
  Random random(1, Stream::test);
  float* out = t.data<float>();
  for (int64_t i = 0; i < n; ++i) out[i] = i < period ? 2 * random.uniform() - 1 : out[i - period];
  return t;
}

double best_seconds(const std::function<void()>& run, CpuSize size) {
  using Clock = std::chrono::steady_clock;
  const double budget = size == CpuSize::full ? 0.1 : 0;
  if (budget > 0) run();  // warms up
  double best = std::numeric_limits<double>::infinity(), total = 0;
  do {
    const auto start = Clock::now();
    run();
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    best = std::min(best, seconds);
    total += seconds;
  } while (total < budget);
  return best;
}

cpu::HashedMatrix hashed_matrix(int64_t buckets) {
  return cpu::HashedMatrix::linear({1, buckets}, hashed_outputs, hashed_inputs);
}

double CpuCeilings::bandwidth(double bytes) const {
  double best = copies.back().per_second;
  for (const Copy& copy : copies)
    if (copy.bytes >= bytes) best = std::max(best, copy.per_second);
  return best;
}

std::pair<double, std::string> CpuCeilings::floor_of(const CpuWork& work) const {
  std::pair<double, std::string> floor{work.bytes / bandwidth(work.bytes), "memory"};
  floor = std::max(floor, {work.flops / flops, "products"});
  for (const Table& table : tables)
    if (table.buckets == work.buckets)
      floor = std::max(floor, {work.gathers / table.gathers + work.scatters / table.scatters, "table"});
  return floor;
}

CpuCeilings measure_cpu_ceilings(CpuSize size) {
  CpuCeilings ceilings{product_ceiling(size), copy_ceilings(size), {}};
  for (const int64_t divisor : hashed_divisors)
    ceilings.tables.push_back(table_ceiling(hashed_inputs * hashed_outputs / divisor, size));
  return ceilings;
}

}  // namespace hashgrad::bench
