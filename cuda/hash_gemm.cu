// The doors of cuda/hash_gemm.h: which kernel does the work. And V written out.
#include "cuda/hash_gemm.h"
#include "cuda/hash_kernels.h"
#include "cuda/scratch.h"
#include "cuda/status.h"

namespace hashgrad::HASHGRAD_GPU {
namespace {

constexpr int threads = 256, columns_of_thread = 2, rows_of_block = 32;

/// V, written at the speed of memory: a block takes 32 rows (of one tile) by 512 columns, a thread two of the
/// columns, whose keys stay in registers. `shared_table`: w is copied next to the block, where lookups are
/// faster.
template <class T, HashMode mode, bool shared_table>
__global__ void __launch_bounds__(threads) materialise_kernel(VirtualMatrix v, const T* w, T* dense) {
  GPU_SHARED(uint32_t, row_keys, [rows_of_block]);
  const int64_t first_row = int64_t{blockIdx.y} * rows_of_block;
  const int rows = static_cast<int>(v.rows - first_row < rows_of_block ? v.rows - first_row : rows_of_block);
  const TileKeys row_tile =
      is_stratified(mode) ? row_tile_keys(v.seed, static_cast<uint32_t>(blockIdx.y)) : TileKeys{0, 0};
  if (threadIdx.x < rows_of_block) row_keys[threadIdx.x] = row_unit<mode>(v, first_row + threadIdx.x).key;
  if constexpr (shared_table) {
    T* const table = dyn_shared<T>();
    for (int64_t b = threadIdx.x; b < v.buckets; b += threads) table[b] = w[b];
    w = table;
  }
  __syncthreads();
  GPU_UNROLL
  for (int n = 0; n < columns_of_thread; ++n) {
    const int64_t j = (int64_t{blockIdx.x} * columns_of_thread + n) * threads + threadIdx.x;
    if (j >= v.columns) break;
    const Unit column = column_unit<mode>(v, j);
    const uint32_t tile = tile_of<mode>(v, row_tile, column.tile);
    T* to = dense + first_row * v.columns + j;
    for (int r = 0; r < rows; ++r, to += v.columns) {
      if constexpr (mode == HashMode::xxhash)
        *to = value_of(w, v.table[(first_row + r) * v.columns + j]);
      else
        *to = value_of(
            w, slot_in_tile<mode>(v, row_keys[r], column.key, column.bank ^ static_cast<uint32_t>(r), tile));
    }
  }
}

template <class T>
void write_out(const VirtualMatrix& v, const T* w, T* dense, int64_t shared_bytes) {
  const int64_t across = blocks_for(v.columns, int64_t{threads} * columns_of_thread),
                down = blocks_for(v.rows, rows_of_block),
                table_bytes = v.buckets * static_cast<int64_t>(sizeof(T));
  check(down < 65536, "hash: {} rows are too many to materialise", v.rows);
  // A block looks up 16384 values: more than that need not be copied.
  const bool shared = table_bytes <= std::min<int64_t>(shared_bytes, 32 << 10);
  const dim3 grid(static_cast<unsigned>(across), static_cast<unsigned>(down));
  with_mode(v.mode, [&]<HashMode mode>() {
    if (shared)
      launch(materialise_kernel<T, mode, true>, grid, threads, static_cast<size_t>(table_bytes), v, w, dense);
    else
      launch(materialise_kernel<T, mode, false>, grid, threads, 0, v, w, dense);
  });
}

int64_t shared_limit(const HashTuning& tuning) {
  const int64_t all = properties().shared_per_block;
  return tuning.shared_bytes > 0 ? std::min(tuning.shared_bytes, all) : all;
}

HashKernel choose_kernel(const VirtualMatrix& v, int64_t outer, int64_t depth, int64_t batch,
                         int64_t shared_bytes) {
  HashMachine machine = hash_machine();
  machine.shared_bytes = shared_bytes;
  return plan_hashed_linear(outer, depth, v.buckets, v.mode, batch, machine).kernel;
}

template <class T>
void multiply(const HashedProduct<T>& p, const HashTuning& tuning) {
  if (p.batch == 0) return;
  const int64_t shared = shared_limit(tuning);
  HashKernel kernel = tuning.kernel;
  if (kernel == HashKernel::automatic) kernel = choose_kernel(p.v, p.outer(), p.depth(), p.batch, shared);
  switch (kernel) {
    case HashKernel::reference:
      return reference_product(p);
    case HashKernel::small_batch:
      return small_batch_product(p, shared, tuning.table);
    case HashKernel::bf16:
      if constexpr (std::is_same_v<T, float>) return bf16_product(p, shared);
      fail("hash: bf16 products are of float32 only");
    default:
      return tile_product(p);
  }
}

}  // namespace

HashMachine hash_machine() {
  return {.shared_bytes = properties().shared_per_block, .multiprocessors = properties().multiprocessors};
}

VirtualMatrix view_of(const cpu::HashedMatrix& v) {
  const uint32_t* table = v.table_on(HASHGRAD_EMULATED ? Device::Kind::emu : Device::Kind::cuda, [&] {
    const size_t bytes = v.table().size() * sizeof(uint32_t);
    std::shared_ptr<uint32_t> copy(static_cast<uint32_t*>(allocate(bytes)),
                                   [bytes](uint32_t* p) { release(p, bytes); });
    copy_to_device(copy.get(), v.table().data(), bytes);
    must(cudaStreamSynchronize(stream()), "table");  // for other threads, with other streams
    return copy;
  });
  const HashSpec& spec = v.spec();
  return {spec.seed,
          v.rows(),
          v.columns(),
          spec.buckets,
          spec.mode,
          v.is_bias(),
          is_stratified(spec.mode) ? strata_of(spec) : Strata{0, 0, false},
          table};
}

template <class T>
void hashed_linear(const cpu::HashedMatrix& v, const T* w, int64_t batch, const T* x, T* y,
                   const cpu::Epilogue<T>& epilogue, const HashTuning& tuning) {
  multiply<T>({view_of(v), false, w, batch, x, y, epilogue}, tuning);
}

template <class T>
void hashed_linear_input_gradient(const cpu::HashedMatrix& v, const T* w, int64_t batch, const T* dy, T* dx,
                                  const cpu::Epilogue<T>& epilogue, const HashTuning& tuning) {
  multiply<T>({view_of(v), true, w, batch, dy, dx, epilogue}, tuning);
}

template <class T>
void hashed_linear_bucket_gradient(const cpu::HashedMatrix& v, int64_t batch, const T* x, const T* dy, T* dw,
                                   const HashTuning& tuning) {
  if (tuning.kernel == HashKernel::reference) return reference_bucket_gradient(view_of(v), batch, x, dy, dw);
  bucket_gradient(view_of(v), batch, x, dy, dw, shared_limit(tuning));
}

template <class T>
void materialise(const cpu::HashedMatrix& v, const T* w, T* dense, const HashTuning& tuning) {
  if (tuning.kernel == HashKernel::reference) return reference_materialise(view_of(v), w, dense);
  write_out(view_of(v), w, dense, shared_limit(tuning));
}

template <class T>
void scatter(const cpu::HashedMatrix& v, const T* d_dense, T* dw, const HashTuning& tuning) {
  if (tuning.kernel == HashKernel::reference) return reference_scatter(view_of(v), d_dense, dw);
  bucket_scatter(view_of(v), d_dense, dw, shared_limit(tuning));
}

#define INSTANTIATE(T)                                                                                   \
  template void hashed_linear(const cpu::HashedMatrix&, const T*, int64_t, const T*, T*,                 \
                              const cpu::Epilogue<T>&, const HashTuning&);                               \
  template void hashed_linear_input_gradient(const cpu::HashedMatrix&, const T*, int64_t, const T*, T*,  \
                                             const cpu::Epilogue<T>&, const HashTuning&);                \
  template void hashed_linear_bucket_gradient(const cpu::HashedMatrix&, int64_t, const T*, const T*, T*, \
                                              const HashTuning&);                                        \
  template void materialise(const cpu::HashedMatrix&, const T*, T*, const HashTuning&);                  \
  template void scatter(const cpu::HashedMatrix&, const T*, T*, const HashTuning&);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace hashgrad::HASHGRAD_GPU
