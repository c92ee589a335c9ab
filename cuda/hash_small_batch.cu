// Products of small batches, where reading the weights would be all the work: here nothing is read, a warp
// generates weights in registers and multiplies each at once with up to 8 samples.
#include "cuda/hash_kernels.h"
#include "cuda/hash_plan.h"
#include "cuda/matrix.h"

namespace hashgrad::HASHGRAD_GPU {
namespace {

constexpr int warps = 8, threads = 32 * warps;
constexpr int rows_of_lane = 2,
              group = 32 * rows_of_lane;  // a warp takes 64 rows of P, as many as a window has
constexpr int stage = 128;                // depths brought into shared memory at a time
constexpr int tiles_of_stage = stage / 32;
constexpr int window_buckets = static_cast<int>(window_strata * bank_count);
static_assert(group == window_rows && stage == window_columns);

template <class T>
struct SmallBatch {
  HashedProduct<T> p;
  int64_t part;  // depth of one
  int parts;
  MatrixSink<T> to;
};

/// What one warp keeps in shared memory.
template <class T, int samples, bool windowed>
struct WarpMemory {
  uint4 keys[stage / 4];  // of the depths
  Pack<T, 4> x[samples][stage / 4];
  uint32_t tiles[tiles_of_stage][rows_of_lane];  // the words of the tiles, [depth / 32, row / 32]
  alignas(16) T window[windowed ? window_buckets : 1];
};

/// Fills the table of all bucket values that the block looks up, in the order of table_value.
template <HashMode mode, BucketTable table, class T>
__device__ void fill_table(const VirtualMatrix& v, const T* w, T* to) {
  const int64_t buckets = v.buckets, entries = table == BucketTable::signed_shared ? 2 * buckets : buckets;
  for (int64_t e = threadIdx.x; e < entries; e += threads) {
    if constexpr (table == BucketTable::shared)
      to[e] = w[e];
    else if constexpr (mode == HashMode::full)
      to[e] = value_of(w, static_cast<uint32_t>(e));
    else  // 32 values, then their negatives, so that the bank is that of the bucket
      to[e] = with_sign(w[e / 64 * 32 + e % 32], static_cast<uint32_t>(e / 32 & 1));
  }
}

/// One weight. `values` is the block's table, the warp's window, or w in device memory.
template <HashMode mode, BucketTable table, class T>
__device__ __forceinline__ T table_value(const VirtualMatrix& v, const T* values, uint32_t a, uint32_t b,
                                         uint32_t bank, uint32_t tile) {
  if constexpr (mode == HashMode::full) {
    const uint32_t slot = hash_slot(a, b, v.slots());
    if constexpr (table == BucketTable::signed_shared) return values[slot];
    return value_of(values, slot);
  } else if constexpr (table == BucketTable::global) {
    return value_of(values, slot_in_tile<mode>(v, a, b, bank, tile));
  } else {
    const uint32_t signed_stratum = scale_bits(hash_bits(a, b), 2 * v.strata.window),
                   own = (bank ^ tile) & 31;
    if constexpr (table == BucketTable::signed_shared) return values[signed_stratum * 32 + own];
    return with_sign(values[signed_stratum / 2 * 32 + own], signed_stratum);
  }
}

/// The depths [begin, end) of the stage that starts at begin: their keys, their inputs, and the words of the
/// tiles they make with the warp's rows. Lanes side by side take depths side by side.
template <HashMode mode, class T, int samples, bool windowed>
__device__ void bring(const HashedProduct<T>& p, int64_t begin, int64_t end, const Unit (&rows)[rows_of_lane],
                      WarpMemory<T, samples, windowed>& memory) {
  const int lane = static_cast<int>(lane_id());
  const int64_t depth = p.depth();
  uint32_t* keys = reinterpret_cast<uint32_t*>(memory.keys);
  GPU_UNROLL
  for (int n = 0; n < stage / 32; ++n) {
    const int e = lane + 32 * n;
    const int64_t d = begin + e;
    keys[e] = (p.transposed ? row_unit<mode>(p.v, d) : column_unit<mode>(p.v, d)).key;
    GPU_UNROLL
    for (int m = 0; m < samples; ++m)
      reinterpret_cast<T*>(memory.x[m])[e] = d < end && m < p.batch ? p.x[m * depth + d] : T{0};
  }
  if constexpr (is_stratified(mode)) {
    if (lane < tiles_of_stage) {
      const uint32_t tile = static_cast<uint32_t>(begin / 32) + static_cast<uint32_t>(lane);
      const TileKeys keys_of_depth =
          p.transposed ? row_tile_keys(p.v.seed, tile) : column_tile_keys(p.v.seed, tile);
      GPU_UNROLL
      for (int r = 0; r < rows_of_lane; ++r)
        memory.tiles[lane][r] = p.transposed ? tile_of<mode>(p.v, keys_of_depth, rows[r].tile)
                                             : tile_of<mode>(p.v, rows[r].tile, keys_of_depth);
    }
  }
  __syncwarp();
}

/// Copies the window that starts at the stratum of this tile next to the warp.
template <class T>
__device__ void bring_window(const VirtualMatrix& v, const T* w, uint32_t tile, T* window) {
  const int lane = static_cast<int>(lane_id());
  uint32_t stratum = tile >> 5;
  __syncwarp();  // nobody reads the window before
  for (uint32_t n = 0; n < v.strata.window; ++n) {
    window[n * 32 + static_cast<uint32_t>(lane)] = w[int64_t{stratum} * 32 + lane];
    stratum = stratum + 1 == v.strata.all ? 0 : stratum + 1;
  }
  __syncwarp();
}

/// Depths [begin, end) of the stage, all in one tile of V: generates the lane's weights and multiplies them
/// with all samples, four depths at a time.
template <HashMode mode, BucketTable table, class T, int samples, bool windowed>
__device__ __forceinline__ void multiply_depths(const HashedProduct<T>& p, const T* values,
                                                const Unit (&rows)[rows_of_lane],
                                                const WarpMemory<T, samples, windowed>& memory, int begin,
                                                int end, T (&sums)[samples][rows_of_lane]) {
  uint32_t tiles[rows_of_lane] = {};
  if constexpr (is_stratified(mode)) {
    GPU_UNROLL
    for (int r = 0; r < rows_of_lane; ++r) tiles[r] = memory.tiles[begin / 32][r];
  }
  for (int q = begin; q < end; q += 4) {
    const uint4 packed = memory.keys[q / 4];
    const uint32_t keys[4] = {packed.x, packed.y, packed.z, packed.w};
    Pack<T, 4> x[samples];
    GPU_UNROLL
    for (int m = 0; m < samples; ++m) x[m] = memory.x[m][q / 4];
    GPU_UNROLL
    for (int n = 0; n < 4; ++n) {
      if (q + n >= end) break;
      const uint32_t d = static_cast<uint32_t>(q + n), bank = p.transposed ? row_bank(d) : column_bank(d);
      GPU_UNROLL
      for (int r = 0; r < rows_of_lane; ++r) {
        const T weight =
            table_value<mode, table>(p.v, values, rows[r].key, keys[n], rows[r].bank ^ bank, tiles[r]);
        GPU_UNROLL
        for (int m = 0; m < samples; ++m) sums[m][r] = multiply_add(x[m].at[n], weight, sums[m][r]);
      }
    }
  }
}

/// A warp takes 64 rows of P, lane l rows l and l + 32, and walks down one part of the depth; every output is
/// one chain of multiply-adds, in the order of the tiled product. Keys and inputs of a depth are the same for
/// all lanes, so they are read as broadcasts. The blocks stay: the table is filled once for all the rows and
/// parts a block takes.
template <class T, HashMode mode, BucketTable table, int samples>
__global__ void __launch_bounds__(threads) small_batch_kernel(SmallBatch<T> s) {
  constexpr bool windowed = table == BucketTable::window;
  using Memory = WarpMemory<T, samples, windowed>;
  const HashedProduct<T>& p = s.p;
  const int64_t outer = p.outer(), depth = p.depth(), groups = (outer + group - 1) / group;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(lane_id());
  Memory& memory = dyn_shared<Memory>()[warp];
  T* const block_table = reinterpret_cast<T*>(dyn_shared<Memory>() + warps);
  if constexpr (table == BucketTable::signed_shared || table == BucketTable::shared) {
    fill_table<mode, table>(p.v, p.w, block_table);
    __syncthreads();
  }
  const T* const values = windowed ? memory.window : table == BucketTable::global ? p.w : block_table;

  for (int64_t item = int64_t{blockIdx.x} * warps + warp; item < groups * s.parts;
       item += int64_t{gridDim.x} * warps) {
    const int64_t first = item % groups * group;
    const int part = static_cast<int>(item / groups);
    const int64_t begin = part * s.part, end = begin + s.part < depth ? begin + s.part : depth;
    Unit rows[rows_of_lane];
    GPU_UNROLL
    for (int r = 0; r < rows_of_lane; ++r)
      rows[r] = p.transposed ? column_unit<mode>(p.v, first + 32 * r + lane)
                             : row_unit<mode>(p.v, first + 32 * r + lane);
    T sums[samples][rows_of_lane] = {};
    for (int64_t d0 = begin; d0 < end; d0 += stage) {
      bring<mode>(p, d0, end, rows, memory);
      const int depths = static_cast<int>(end - d0 < stage ? end - d0 : stage);
      for (int d = 0; d < depths; d += 32) {
        if constexpr (windowed) {
          if (d == 0 || (p.transposed && d == static_cast<int>(window_rows)))
            bring_window(p.v, p.w, memory.tiles[d / 32][0], memory.window);
        }
        multiply_depths<mode, table>(p, values, rows, memory, d, depths < d + 32 ? depths : d + 32, sums);
      }
      __syncwarp();  // before the stage is overwritten
    }
    GPU_UNROLL
    for (int r = 0; r < rows_of_lane; ++r) {
      const int64_t o = first + 32 * r + lane;
      if (o >= outer) continue;
      const auto column = s.to.template column<1>(o);
      GPU_UNROLL
      for (int m = 0; m < samples; ++m)
        if (m < p.batch) s.to.put(m, column, part, Pack<T, 1>{{sums[m][r]}});
    }
  }
}

template <class T, HashMode mode, BucketTable table, int samples>
void launch_kernel(const SmallBatch<T>& s) {
  constexpr size_t staging = warps * sizeof(WarpMemory<T, samples, table == BucketTable::window>);
  static_assert(table == BucketTable::window || staging <= small_batch_staging(samples, sizeof(T)));
  const size_t values = static_cast<size_t>(s.p.v.buckets) * sizeof(T);
  const size_t of_table = table == BucketTable::signed_shared ? 2 * values
                          : table == BucketTable::shared      ? values
                                                              : 0;
  const int64_t items = blocks_for(s.p.outer(), group) * s.parts;
  const int64_t resident = resident_blocks(static_cast<int64_t>(staging + of_table));
  const int64_t blocks = std::min(blocks_for(items, warps), resident * properties().multiprocessors);
  launch(small_batch_kernel<T, mode, table, samples>, blocks, threads, staging + of_table, s);
}

template <class T, HashMode mode, BucketTable table>
void launch_samples(const SmallBatch<T>& s) {
  if (s.p.batch == 1) return launch_kernel<T, mode, table, 1>(s);
  if (s.p.batch <= 4) return launch_kernel<T, mode, table, 4>(s);
  launch_kernel<T, mode, table, 8>(s);
}

template <class T>
void launch_table(const SmallBatch<T>& s, int64_t shared_bytes, std::optional<BucketTable> wanted) {
  const VirtualMatrix& v = s.p.v;
  const int64_t for_table = shared_bytes - small_batch_staging(s.p.batch, sizeof(T));
  const BucketTable table = wanted.value_or(choose_bucket_table(
      v.buckets, v.mode, v.rows * v.columns, sizeof(T), for_table, properties().multiprocessors));
  const int64_t values = v.buckets * static_cast<int64_t>(sizeof(T)),
                window = window_buckets * int64_t{sizeof(T)};
  const auto fits = [&](BucketTable t, int64_t bytes) { return table == t && bytes <= for_table; };
  with_mode(v.mode, [&]<HashMode mode>() {
    if constexpr (mode == HashMode::full || mode == HashMode::strat) {
      if (fits(BucketTable::signed_shared, 2 * values))
        return launch_samples<T, mode, BucketTable::signed_shared>(s);
      if (fits(BucketTable::shared, values)) return launch_samples<T, mode, BucketTable::shared>(s);
    }
    if constexpr (mode == HashMode::window) {
      if (fits(BucketTable::window, warps * window)) return launch_samples<T, mode, BucketTable::window>(s);
    }
    if constexpr (mode != HashMode::xxhash) {
      if (for_table >= 0 && (!wanted || *wanted == BucketTable::global))
        return launch_samples<T, mode, BucketTable::global>(s);
    }
    fail("hash: the small-batch kernel has no such table for mode {}, {} buckets and {} bytes", name_of(mode),
         v.buckets, shared_bytes);
  });
}

}  // namespace

template <class T>
void small_batch_product(const HashedProduct<T>& product, int64_t shared_bytes,
                         std::optional<BucketTable> table) {
  const int64_t outer = product.outer(), depth = product.depth(), part = hashed_part(depth);
  const int parts = static_cast<int>(std::max<int64_t>(1, blocks_for(depth, part)));
  // Of eight float64 samples at a time what is staged alone passes 64 KB, which is all that some devices
  // have.
  const int64_t most = small_batch_staging(8, sizeof(T)) <= shared_bytes ? 8 : 4;
  const Scratch<T> sums(parts > 1 ? parts * std::min(most, product.batch) * outer
                                  : 0);  // [parts, batch, outer]
  for (int64_t m = 0; m < product.batch; m += most) {
    HashedProduct<T> p = product;
    p.batch = std::min(most, product.batch - m);
    p.x += m * depth;
    p.c += m * outer;
    if (p.epilogue.row_bias) p.epilogue.row_bias += m;
    const MatrixSink<T> to{p.c, outer, outer, parts, 0, false, p.epilogue};
    if (parts == 1) {
      launch_table<T>({p, part, parts, to}, shared_bytes, table);
    } else {
      const MatrixSink<T> to_sums{sums.data(), outer, outer, parts, p.batch * outer, false, {}};
      launch_table<T>({p, part, parts, to_sums}, shared_bytes, table);
      fold(p.batch, static_cast<const T*>(sums.data()), to);
    }
  }
}

template void small_batch_product(const HashedProduct<float>&, int64_t, std::optional<BucketTable>);
template void small_batch_product(const HashedProduct<double>&, int64_t, std::optional<BucketTable>);

}  // namespace hashgrad::HASHGRAD_GPU
