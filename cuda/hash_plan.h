// Which kernel computes a product with a hashed matrix, and why.
#pragma once

#include <algorithm>
#include <cstdint>
#include <fmt/format.h>
#include <limits>
#include <string>

#include "core/hash.h"

namespace hashgrad {

/// The ways to multiply by V. All but `bf16` are exact to float or double rounding and give the same bits as
/// each other, but for `reference`, which sums in one chain.
enum class HashKernel {
  automatic,    // what plan_hashed_linear says
  reference,    // one thread per output: to read, to test against, and the first rung of the benchmark
  small_batch,  // a warp generates weights in registers and uses each for up to 8 samples; not in mode xxhash
  tile,         // the tiled product of all layers, whose operand is generated as it is brought in
  bf16,         // tensor cores: weights and inputs rounded to bfloat16, sums in float. Only when asked for
};

constexpr const char* name_of(HashKernel kernel) {
  constexpr const char* names[] = {"automatic", "reference", "small_batch", "tile", "bf16"};
  return names[static_cast<int>(kernel)];
}

/// Where a kernel looks bucket values up.
enum class BucketTable {
  signed_shared,  // shared memory, each value and its negative: the sign costs nothing
  shared,         // shared memory
  window,         // the 2048 buckets of one window in shared memory (mode window)
  global,         // device memory, through the caches
};

constexpr const char* name_of(BucketTable table) {
  constexpr const char* names[] = {"signed in shared memory", "in shared memory", "a window in shared memory",
                                   "in device memory"};
  return names[static_cast<int>(table)];
}

struct HashPlan {
  HashKernel kernel = HashKernel::tile;
  BucketTable table = BucketTable::global;
  double microseconds = 0;           // predicted
  double small_batch = 0, tile = 0;  // predicted microseconds of the candidates; infinite: not one
  std::string why;
};

/// The machine that plans are made for; by default an H200. Rates are per microsecond, at 1.83 GHz.
struct HashMachine {
  int64_t shared_bytes = 227 << 10;  // for one block
  int multiprocessors = 132;
  double gathers_banked =
      132 * 14 * 1830;  // instruction issue: 128 lanes per clock, 9 instructions per weight
  double gathers_shared = 132 * 9.1 * 1830;       // random banks: 3.5 passes per 32 lookups
  double gathers_cached = 132 * 3.4 * 1830;       // first-level cache: 9.3 clocks per 32 lookups
  double gathers_global = 303e3;                  // second-level cache: a sector of 32 bytes each at 9.7 TB/s
  double multiply_adds = 132 * 128 * 1830 * 0.8;  // in float; 0.8 is what a tiled product reaches
  double launch = 1.3;                            // of one kernel, in a graph
};

/// How many samples one pass of the small-batch kernel takes, for this many that are left.
constexpr int64_t samples_of_pass(int64_t batch) { return batch <= 1 ? 1 : batch <= 4 ? 4 : 8; }

/// Shared memory that it needs beside a table, in bytes: keys and inputs of 128 depths for each of 8 warps.
constexpr int64_t small_batch_staging(int64_t batch, int64_t value_bytes) {
  return 8 * (128 * 4 + 128 * samples_of_pass(batch) * value_bytes + 64);
}

/// Where it finds w [buckets], with so many bytes of shared memory for the table. Copying one value there
/// costs a multiprocessor a sixth of what it takes to look one up in the second-level cache.
inline BucketTable choose_bucket_table(int64_t buckets, HashMode mode, int64_t weights, int64_t value_bytes,
                                       int64_t table_bytes, int multiprocessors) {
  if (mode == HashMode::window) return BucketTable::window;
  const bool pays = 6 * weights / multiprocessors >= buckets;
  if (pays && 2 * buckets * value_bytes <= table_bytes) return BucketTable::signed_shared;
  if (pays && buckets * value_bytes <= table_bytes) return BucketTable::shared;
  return BucketTable::global;
}

/// The faster of small_batch and tile for Y[batch, rows] = X V^T in float, by what bounds each: looking
/// weights up (once per 8 samples, or once per up to 128), or that and multiplying with them. Constants:
/// instruction counts of sm_90 machine code and published cache rates of the H200, until measured.
inline HashPlan plan_hashed_linear(int64_t rows, int64_t columns, int64_t buckets, HashMode mode,
                                   int64_t batch, const HashMachine& machine = {}) {
  const double weights = static_cast<double>(rows) * static_cast<double>(columns);
  const auto passes = [&](int64_t samples) { return static_cast<double>((batch + samples - 1) / samples); };
  const auto products = [&](int64_t samples) {
    return static_cast<double>(samples) * weights / machine.multiply_adds;
  };
  const bool cached = mode == HashMode::window || buckets * 4 <= 128 << 10;
  const double through_cache = weights / (cached ? machine.gathers_cached : machine.gathers_global);

  const BucketTable table =
      choose_bucket_table(buckets, mode, rows * columns, 4,
                          machine.shared_bytes - small_batch_staging(batch, 4), machine.multiprocessors);
  const double in_shared = weights / (is_stratified(mode) ? machine.gathers_banked : machine.gathers_shared);
  const double lookups = table == BucketTable::global ? through_cache : in_shared;
  const int64_t samples = samples_of_pass(batch);
  const double small = 2 * machine.launch + passes(samples) * std::max(lookups, products(samples));

  const int64_t tile_rows = batch <= 16 ? 16 : batch <= 32 ? 32 : batch <= 64 ? 64 : 128;
  const double tile = 2 * machine.launch + passes(tile_rows) * (through_cache + products(tile_rows));

  if (mode == HashMode::xxhash)
    return {HashKernel::tile,
            BucketTable::global,
            tile,
            std::numeric_limits<double>::infinity(),
            tile,
            fmt::format("mode xxhash reads its slots from memory, which only the tile does well: {:.1f} us",
                        tile)};
  const bool use_small = small < tile;
  return {use_small ? HashKernel::small_batch : HashKernel::tile,
          use_small ? table : BucketTable::global,
          std::min(small, tile),
          small,
          tile,
          fmt::format("batch {}: small_batch would take {:.1f} us, tile {:.1f} us", batch, small, tile)};
}

}  // namespace hashgrad
