// What elementwise kernels share: the size of a grid, loads and stores of 16 bytes, and the kernel that
// applies a function to whole arrays.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cuda/gpu.h"
#include "cuda/pack.h"

namespace hashgrad::HASHGRAD_GPU {

/// Threads of a block, where nothing asks for another number.
inline constexpr int block_size = 256;

/// Blocks of a loop over `items` in strides of the grid: a thread for each item, as long as that does not
/// fill the device more than about eight times over (eight such blocks fill a multiprocessor). Results must
/// not depend on it.
inline int64_t grid_for(int64_t items, int64_t items_per_block = block_size) {
  return std::min(blocks_for(items, items_per_block), int64_t{64} * properties().multiprocessors);
}

template <class T>
__device__ __forceinline__ Pack<T> load_pack(const T* x, int64_t i) {
  return reinterpret_cast<const Pack<T>*>(x)[i];
}
template <class T>
__device__ __forceinline__ void store_pack(T* x, int64_t i, const Pack<T>& pack) {
  reinterpret_cast<Pack<T>*>(x)[i] = pack;
}

/// Number of whole packs in n elements; 0 unless all these arrays lie on 16 bytes.
template <class T, class... Arrays>
int64_t packs_of(int64_t n, const Arrays*... arrays) {
  const bool aligned = ((reinterpret_cast<uintptr_t>(arrays) % sizeof(Pack<T>) == 0) && ...);
  return aligned ? n / Pack<T>::size : 0;
}

/// f of each element of the packs.
template <class T, class F, class... Packs>
__device__ __forceinline__ Pack<T> map_packs(const F& f, const Packs&... in) {
  Pack<T> out;
  GPU_UNROLL
  for (int k = 0; k < Pack<T>::size; ++k) out.at[k] = f(in.at[k]...);
  return out;
}

// A thread does one pack at a time, so that a warp moves 512 bytes per load; what is left over, or everything
// where an array is not aligned, goes by single elements.
template <class T, class F, class... In>
__global__ void map_kernel(int64_t n, int64_t packs, F f, T* out, const In*... in) {
  for (int64_t i = grid_rank(); i < packs; i += grid_threads())
    store_pack(out, i, map_packs<T>(f, load_pack(in, i)...));
  for (int64_t i = packs * Pack<T>::size + grid_rank(); i < n; i += grid_threads()) out[i] = f(in[i]...);
}

/// out[i] = f(in[i]...) for i < n. `out` may be one of the inputs; f is a struct with a const device
/// operator().
template <class T, class F, class... In>
void map(int64_t n, F f, T* out, const In*... in) {
  static_assert((std::is_same_v<T, In> && ...));
  const int64_t packs = packs_of<T>(n, out, in...);
  launch(map_kernel<T, F, In...>, grid_for(packs > 0 ? packs : n), block_size, 0, n, packs, f, out, in...);
}

}  // namespace hashgrad::HASHGRAD_GPU
