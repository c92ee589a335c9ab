// The gradient of bucket values: dw[b] = sum over the (i,j) of bucket b of sign(i,j) * (dY^T X)[i,j].
//
// dY^T X exists tile by tile, in registers; each element is hashed there and added to the sum of its bucket.
// Many threads add to one bucket, in no order that could be relied on, so they add integers: every element is
// rounded to a multiple of a power of two chosen so small that it costs no accuracy, and so large that no sum
// can overflow 64 bits. Integer sums have no order: the result has the same bits every time, whoever comes
// first.
//
// The power of two follows from a bound of all sums, computed first: |dw[b]| <= sum over samples of |dY|_1 *
// |X|_1. Floats keep 61 bits below that bound, doubles 91 in two integers. What is not finite is not added
// but noted.
#include "cuda/hash_kernels.h"
#include "cuda/matrix.h"

namespace hashgrad::HASHGRAD_GPU {
namespace {

template <class T>
using BucketTile =
    std::conditional_t<std::is_same_v<T, float>, Tile<128, 128, 8, 8, 8>, Tile<64, 64, 8, 4, 4>>;

/// Integers per bucket: the second one counts in units 2^30 times smaller.
template <class T>
constexpr int limbs = std::is_same_v<T, float> ? 1 : 2;
constexpr int limb_bits = 30;

constexpr int sum_bits = 61;                         // of 63, to leave room for roundings
constexpr int no_bound = 0, bound_offset = 1 << 14;  // bounds are kept as positive numbers
constexpr int samples_per_item = 512;

enum class Where { shared, window, global };

constexpr unsigned is_nan = 1, is_infinite = 2, is_minus_infinite = 4;

/// Sums over buckets in device memory; zeros to begin with.
struct BucketSums {
  int64_t buckets;
  unsigned long long* sums;  // [limbs, K], two's complement
  unsigned* not_finite;      // [K], which of the bits below were met
  int* bound;                // all |sums| are below 2^(bound - bound_offset)
};

template <class T>
struct BucketWork {
  VirtualMatrix v;
  int64_t batch;
  const T* x;   // [batch, columns]; null: the matrix dy [rows, columns] itself is what is added up
  const T* dy;  // [batch, rows]
  unsigned tiles_i, tiles_j;
  int64_t items;    // tiles times slices of the batch
  int copies_log2;  // copies of the table in shared memory, so that the lanes of a warp meet less often
  BucketSums to;
};

/// 2^exponent as two factors, because the exponent may be beyond those of a double.
struct Scale {
  double first, second;
  explicit __device__ Scale(int exponent)
      : first(ldexp(1.0, exponent / 2)), second(ldexp(1.0, exponent - exponent / 2)) {}
};
__device__ int exponent_below(int bound) {
  const int exponent = sum_bits - (bound - bound_offset);
  return bound == no_bound ? 0 : exponent < -1000 ? -1000 : exponent > 1136 ? 1136 : exponent;
}

/// |values|_1 of those that are finite, and the sum of it over the block.
template <class T>
__device__ double norm(const T* values, int64_t n) {
  double sum = 0;
  for (int64_t e = threadIdx.x; e < n; e += blockDim.x) {
    const double value = static_cast<double>(values[e]);
    if (value - value == 0) sum += fabs(value);
  }
  return block_reduce(sum, 0.0, [](double a, double b) { return a + b; });
}

/// A block takes samples one after the other: their two norms, rounded up to powers of two.
template <class T>
__global__ void bound_kernel(int64_t samples, int64_t rows, const T* dy, int64_t columns, const T* x,
                             int samples_log2, int* bound) {
  for (int64_t m = blockIdx.x; m < samples; m += gridDim.x) {
    const double left = norm(dy + m * rows, rows), right = x ? norm(x + m * columns, columns) : 1.0;
    if (threadIdx.x != 0 || left == 0 || right == 0) continue;
    int of_left = 1100, of_right = 1100;  // for sums that overflow
    if (left - left == 0) static_cast<void>(frexp(left, &of_left));
    if (right - right == 0) static_cast<void>(frexp(right, &of_right));
    atomicMax(bound, of_left + of_right + samples_log2 + bound_offset);
  }
}

/// A 64-bit sum in shared memory, as two words: 32-bit atomics are single instructions there, 64-bit ones
/// loops. The second is rarely needed, as carry and sign of small numbers cancel out.
__device__ __forceinline__ void add_to_words(unsigned* low, unsigned* high, long long value) {
  const unsigned lower = static_cast<unsigned>(value), before = atomicAdd(low, lower);
  const unsigned upper = static_cast<unsigned>(value >> 32) + (before + lower < before ? 1u : 0u);
  if (upper != 0) atomicAdd(high, upper);
}

/// Sums of the block: `entries` of them, for each limb the low words, then the high words.
struct SharedSums {
  unsigned* words;
  int entries;

  __device__ void add(int limb, int entry, long long value) const {
    unsigned* low = words + limb * 2 * entries + entry;
    add_to_words(low, low + entries, value);
  }
  __device__ unsigned long long take(int limb, int entry) const {  // and leaves zero
    unsigned *low = words + limb * 2 * entries + entry, *high = low + entries;
    const unsigned long long value = static_cast<unsigned long long>(*high) << 32 | *low;
    *low = *high = 0;
    return value;
  }
};

/// Adds one element to its bucket. `add(limb, value)` does it.
template <class T, class Add>
__device__ __forceinline__ void add_element(const BucketSums& to, const Scale& scale, uint32_t slot,
                                            T element, const Add& add) {
  const double value = static_cast<double>(with_sign(element, slot));
  if (value - value != 0) {
    atomicOr(&to.not_finite[slot >> 1], value > 0 ? is_infinite : value < 0 ? is_minus_infinite : is_nan);
    return;
  }
  const double scaled = value * scale.first * scale.second;
  const long long whole = llrint(scaled);
  if (whole != 0) add(0, whole);
  if constexpr (limbs<T> == 2) {
    const long long rest = llrint((scaled - static_cast<double>(whole)) * (1 << limb_bits));
    if (rest != 0) add(1, rest);
  }
}

template <class T>
struct BlockMemory {
  using Tile = BucketTile<T>;
  Line<T, Tile::rows> a[2][Tile::depth];
  Line<T, Tile::columns> b[2][Tile::depth];
  uint32_t row_keys[Tile::rows], column_keys[Tile::columns];
  uint32_t tiles[Tile::rows / 32][Tile::columns / 32];  // words of the tiles of V
};
template <class T>
constexpr int windows_of_tile = BucketTile<T>::rows / static_cast<int>(window_rows);

/// The product dY^T X of one tile over samples [begin, end); two halves of shared memory take turns.
template <class T>
__device__ __forceinline__ void multiply_tile(
    const BucketWork<T>& work, int64_t row0, int64_t column0, int begin, int end,
    const Place<BucketTile<T>>& place, BlockMemory<T>& memory,
    T (&sums)[BucketTile<T>::thread_rows][BucketTile<T>::thread_columns]) {
  using Tile = BucketTile<T>;
  Matrix<T, 1> dy{work.dy, 1, work.v.rows}, x{work.x, 1, work.v.columns};
  Feeder<Matrix<T, 1>, Tile::rows, Tile::depth, Tile::threads> a;
  Feeder<Matrix<T, 1>, Tile::columns, Tile::depth, Tile::threads> b;
  a.aim(dy, row0, work.v.rows);
  b.aim(x, column0, work.v.columns);
  int half = 1;  // one step more than there are: the first only fetches
  for (int k0 = begin - Tile::depth; k0 < end; k0 += Tile::depth, half ^= 1) {
    const int next = k0 + Tile::depth;
    if (next < end) {
      a.fetch(dy, next, end, memory.a[half ^ 1]);
      b.fetch(x, next, end, memory.b[half ^ 1]);
    }
    if (k0 >= begin) {
      if (next <= end)
        multiply_step<Tile, true>(place, memory.a[half], memory.b[half], Tile::depth, sums);
      else
        multiply_step<Tile, false>(place, memory.a[half], memory.b[half], end - k0, sums);
    }
    if (next < end) {
      a.store(dy, memory.a[half ^ 1]);
      b.store(x, memory.b[half ^ 1]);
    }
    __syncthreads();
  }
}

/// Keys of the tile's rows and columns, and the words of the tiles of V in it.
template <HashMode mode, class T>
__device__ void bring_keys(const VirtualMatrix& v, int64_t row0, int64_t column0, BlockMemory<T>& memory) {
  using Tile = BucketTile<T>;
  constexpr int down = Tile::rows / 32, across = Tile::columns / 32;
  const int thread = static_cast<int>(threadIdx.x);
  for (int e = thread; e < Tile::rows; e += Tile::threads)
    memory.row_keys[e] = row_unit<mode>(v, row0 + e).key;
  for (int e = thread; e < Tile::columns; e += Tile::threads)
    memory.column_keys[e] = column_unit<mode>(v, column0 + e).key;
  if constexpr (is_stratified(mode)) {
    if (thread < down * across) {
      const int i = thread / across, j = thread % across;
      memory.tiles[i][j] = tile_of<mode>(v, row_tile_keys(v.seed, static_cast<uint32_t>(row0 / 32 + i)),
                                         column_tile_keys(v.seed, static_cast<uint32_t>(column0 / 32 + j)));
    }
  }
}

/// The signed slot of element (i, j) of the tile.
template <HashMode mode, class T>
__device__ __forceinline__ uint32_t slot_in_block(const VirtualMatrix& v, const BlockMemory<T>& memory, int i,
                                                  int j) {
  if constexpr (mode == HashMode::xxhash)
    return v.table[int64_t{memory.row_keys[i]} * v.columns + memory.column_keys[j]];
  else
    return slot_in_tile<mode>(v, memory.row_keys[i], memory.column_keys[j],
                              row_bank(static_cast<uint32_t>(i)) ^ column_bank(static_cast<uint32_t>(j)),
                              is_stratified(mode) ? memory.tiles[i / 32][j / 32] : 0u);
}

/// Adds the sums of the tile's windows to those in device memory.
template <class T>
__device__ void flush_windows(const BucketWork<T>& work, const BlockMemory<T>& memory,
                              const SharedSums& sums) {
  const Strata& strata = work.v.strata;
  const int per_window = static_cast<int>(strata.window * bank_count);
  for (int e = static_cast<int>(threadIdx.x); e < windows_of_tile<T> * per_window;
       e += BucketTile<T>::threads) {
    const int window = e / per_window, at = e % per_window;
    uint32_t stratum = (memory.tiles[window * 2][0] >> 5) + static_cast<uint32_t>(at / 32);
    if (stratum >= strata.all) stratum -= strata.all;
    for (int limb = 0; limb < limbs<T>; ++limb) {
      const unsigned long long value = sums.take(limb, e);
      if (value != 0)
        atomicAdd(&work.to.sums[limb * work.to.buckets + int64_t{stratum} * 32 + at % 32], value);
    }
  }
}

/// Adds the sums of the block's table of all buckets, of which there are `copies`, to those in device memory.
template <class T>
__device__ void flush_table(const BucketSums& to, int copies, const SharedSums& sums) {
  for (int e = static_cast<int>(threadIdx.x); e < sums.entries; e += BucketTile<T>::threads) {
    for (int limb = 0; limb < limbs<T>; ++limb) {
      const unsigned long long value = sums.take(limb, e);
      if (value != 0) atomicAdd(&to.sums[limb * to.buckets + e / copies], value);
    }
  }
}

/// Adds element (i, j) of the tile, whose slot this is, where `where` says.
template <Where where, class T>
__device__ __forceinline__ void add_where(const BucketWork<T>& work, const BlockMemory<T>& memory,
                                          const SharedSums& own, const Scale& scale, int i, int j,
                                          uint32_t slot, T element) {
  if constexpr (where == Where::global) {
    add_element(work.to, scale, slot, element, [&](int limb, long long value) {
      atomicAdd(&work.to.sums[limb * work.to.buckets + (slot >> 1)], static_cast<unsigned long long>(value));
    });
  } else {
    int entry;
    if constexpr (where == Where::shared) {
      entry =
          static_cast<int>((slot >> 1 << work.copies_log2) | (lane_id() & ((1u << work.copies_log2) - 1u)));
    } else {  // the strata of a window are counted from its first
      const Strata& strata = work.v.strata;
      const uint32_t first = memory.tiles[i / 32][j / 32] >> 5, stratum = slot >> 6;
      const uint32_t of_window = stratum >= first ? stratum - first : stratum + strata.all - first;
      const uint32_t window = static_cast<uint32_t>(i) / window_rows;
      entry = static_cast<int>((window * strata.window + of_window) * 32 + (slot >> 1) % 32);
    }
    add_element(work.to, scale, slot, element,
                [&](int limb, long long value) { own.add(limb, entry, value); });
  }
}

/// Adds all elements of the tile at (row0, column0) that this thread has: `sums`, or, of a matrix in memory,
/// those in their places.
template <HashMode mode, Where where, bool product, class T>
__device__ __forceinline__ void add_tile(
    const BucketWork<T>& work, int64_t row0, int64_t column0, const BlockMemory<T>& memory,
    const SharedSums& own, const Scale& scale, Place<BucketTile<T>> place,
    const T (&sums)[BucketTile<T>::thread_rows][BucketTile<T>::thread_columns]) {
  using Tile = BucketTile<T>;
  constexpr int row_stride = Tile::down * Tile::row_group, column_stride = Tile::across * Tile::column_group;
  const VirtualMatrix& v = work.v;
  compute_from_here(place.row);  // or banks and places take registers through the product, and its sums spill
  compute_from_here(place.column);
  GPU_UNROLL
  for (int r = 0; r < Tile::thread_rows; ++r) {
    const int i = place.row + r / Tile::row_group * row_stride + r % Tile::row_group;
    if (row0 + i >= v.rows) continue;
    GPU_UNROLL
    for (int c = 0; c < Tile::thread_columns; ++c) {
      const int j = place.column + c / Tile::column_group * column_stride + c % Tile::column_group;
      if (column0 + j >= v.columns) continue;
      const T element = product ? sums[r][c] : work.dy[(row0 + i) * v.columns + column0 + j];
      add_where<where>(work, memory, own, scale, i, j, slot_in_block<mode>(v, memory, i, j), element);
    }
  }
}

/// Blocks stay and take item after item: a tile of V and up to 512 samples. A thread holds 8 x 8 (doubles: 4
/// x 4) elements of dY^T X and adds them where `where` says: to a table of all buckets in shared memory,
/// given to device memory once at the end; to a table of the tile's windows, given away after each item; or
/// to device memory. Registers are bounded for as many blocks side by side as add_up() starts: left alone,
/// the compiler takes 240 in the stratified modes, and the second half of the blocks waits for the first to
/// end.
template <class T, HashMode mode, Where where, bool product>
__global__ void __launch_bounds__(BucketTile<T>::threads, BucketTile<T>::resident)
    bucket_kernel(BucketWork<T> work, int entries) {
  using Tile = BucketTile<T>;
  BlockMemory<T>& memory = *dyn_shared<BlockMemory<T>>();
  const SharedSums own{reinterpret_cast<unsigned*>(dyn_shared<BlockMemory<T>>() + 1), entries};
  for (int e = static_cast<int>(threadIdx.x); e < limbs<T> * 2 * entries; e += Tile::threads)
    own.words[e] = 0;
  const Scale scale(exponent_below(*work.to.bound));
  const Place<Tile> place;

  for (int64_t item = blockIdx.x; item < work.items; item += gridDim.x) {
    const int64_t tiles = int64_t{work.tiles_i} * work.tiles_j, tile = item % tiles;
    const int64_t row0 = tile % work.tiles_i * Tile::rows, column0 = tile / work.tiles_i * Tile::columns;
    T sums[Tile::thread_rows][Tile::thread_columns] = {};
    __syncthreads();  // the table is zero, and nobody needs the keys of the item before
    bring_keys<mode>(work.v, row0, column0, memory);
    if constexpr (product) {
      const int64_t begin = item / tiles * samples_per_item;
      const int64_t end = begin + samples_per_item < work.batch ? begin + samples_per_item : work.batch;
      multiply_tile(work, row0, column0, static_cast<int>(begin), static_cast<int>(end), place, memory, sums);
    }
    __syncthreads();
    add_tile<mode, where, product>(work, row0, column0, memory, own, scale, place, sums);
    if constexpr (where == Where::window) {
      __syncthreads();
      flush_windows(work, memory, own);
    }
  }
  __syncthreads();
  if constexpr (where == Where::shared) flush_table<T>(work.to, 1 << work.copies_log2, own);
}

/// dw[b] = the sum, in its units; or what is not finite in it. One thread per bucket.
template <class T>
__global__ void finish_kernel(BucketSums sums, T* dw) {
  const Scale unit(-exponent_below(*sums.bound));
  for (int64_t b = grid_rank(); b < sums.buckets; b += grid_threads()) {
    double value = static_cast<double>(static_cast<long long>(sums.sums[b]));
    if constexpr (limbs<T> == 2)
      value += static_cast<double>(static_cast<long long>(sums.sums[sums.buckets + b])) / (1 << limb_bits);
    value = value * unit.first * unit.second;
    const unsigned special = sums.not_finite[b];
    const double infinity = __longlong_as_double(0x7ff0000000000000LL);
    if (special == is_infinite) value = infinity;
    if (special == is_minus_infinite) value = -infinity;
    if ((special & is_nan) != 0 || special == (is_infinite | is_minus_infinite)) value = infinity - infinity;
    dw[b] = static_cast<T>(value);
  }
}

int ceil_log2(int64_t n) {
  int bits = 0;
  while ((int64_t{1} << bits) < n) ++bits;
  return bits;
}

/// Bytes of shared memory of a block with this many sums.
template <class T>
int64_t shared_of(int64_t entries) {
  return static_cast<int64_t>(sizeof(BlockMemory<T>)) + entries * 8 * limbs<T>;
}

/// Decides where sums are kept, and adds all items up.
template <class T, bool product>
void add_up(BucketWork<T> work, int64_t shared_bytes) {
  const VirtualMatrix& v = work.v;
  const int64_t most_entries = (shared_bytes - static_cast<int64_t>(sizeof(BlockMemory<T>))) / (8 * limbs<T>);
  const auto blocks_of = [&](int64_t entries) {
    return std::min(work.items, resident_blocks(shared_of<T>(entries)) * properties().multiprocessors);
  };
  // A table that is emptied for fewer elements than it has entries saves nothing.
  const int64_t elements =
      BucketTile<T>::rows * BucketTile<T>::columns * blocks_for(work.items, blocks_of(v.buckets));
  const bool shared = v.buckets <= std::min(most_entries, elements);
  while (shared && work.copies_log2 < 5 &&
         v.buckets << (work.copies_log2 + 1) <= std::min<int64_t>(most_entries, 8192))
    ++work.copies_log2;
  const int64_t window_entries = windows_of_tile<T> * int64_t{v.strata.window} * bank_count;
  with_mode(v.mode, [&]<HashMode mode>() {
    const auto run = [&]<Where where>(int64_t entries) {
      launch(bucket_kernel<T, mode, where, product>, blocks_of(entries), BucketTile<T>::threads,
             static_cast<size_t>(shared_of<T>(entries)), work, static_cast<int>(entries));
    };
    if constexpr (mode == HashMode::window) {
      if (window_entries <= most_entries) return run.template operator()<Where::window>(window_entries);
    } else {
      if (shared) return run.template operator()<Where::shared>(v.buckets << work.copies_log2);
    }
    run.template operator()<Where::global>(0);
  });
}

/// The whole way: bound, sums, result.
template <class T, bool product>
void sum_buckets(const VirtualMatrix& v, int64_t batch, const T* x, const T* dy, T* dw,
                 int64_t shared_bytes) {
  const int64_t k = v.buckets;
  const Scratch<unsigned long long> memory(limbs<T> * k + (k + 1) / 2 + 1);
  set_bytes(memory.data(), 0, static_cast<size_t>(limbs<T> * k + (k + 1) / 2 + 1) * 8);
  unsigned* words = reinterpret_cast<unsigned*>(memory.data() + limbs<T> * k);
  const BucketSums to{k, memory.data(), words + 2, reinterpret_cast<int*>(words)};

  // Of a product: batch rows of dY and X. Of a matrix: its rows, each of all columns.
  const int64_t samples = product ? batch : v.rows, length = product ? v.rows : v.columns;
  launch(bound_kernel<T>, grid_for(samples, 1), block_size, 0, samples, length, dy, v.columns, x,
         ceil_log2(samples), to.bound);

  using Tile = BucketTile<T>;
  const int64_t tiles_i = blocks_for(v.rows, Tile::rows), tiles_j = blocks_for(v.columns, Tile::columns);
  const int64_t slices = product ? blocks_for(batch, samples_per_item) : 1;
  add_up<T, product>({v, batch, x, dy, static_cast<unsigned>(tiles_i), static_cast<unsigned>(tiles_j),
                      tiles_i * tiles_j * slices, 0, to},
                     shared_bytes);
  launch(finish_kernel<T>, grid_for(k), block_size, 0, to, dw);
}

}  // namespace

template <class T>
void bucket_gradient(const VirtualMatrix& v, int64_t batch, const T* x, const T* dy, T* dw,
                     int64_t shared_bytes) {
  check(batch < int64_t{1} << 31, "hash: a batch of {} is too large for one kernel", batch);
  if (batch == 0) return set_bytes(dw, 0, static_cast<size_t>(v.buckets) * sizeof(T));
  sum_buckets<T, true>(v, batch, x, dy, dw, shared_bytes);
}

template <class T>
void bucket_scatter(const VirtualMatrix& v, const T* d_dense, T* dw, int64_t shared_bytes) {
  sum_buckets<T, false>(v, 0, nullptr, d_dense, dw, shared_bytes);
}

#define INSTANTIATE(T)                                                                           \
  template void bucket_gradient(const VirtualMatrix&, int64_t, const T*, const T*, T*, int64_t); \
  template void bucket_scatter(const VirtualMatrix&, const T*, T*, int64_t);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace hashgrad::HASHGRAD_GPU
