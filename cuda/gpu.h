// The one header that kernel sources (cuda/*.cu) include: CUDA under nvcc, the emulator under any other
// compiler.
//
//   namespace hashgrad::HASHGRAD_GPU {
//   __global__ void scale_kernel(int64_t n, float factor, const float* x, float* y) {
//     for (int64_t i = grid_rank(); i < n; i += grid_threads()) y[i] = factor * x[i];
//   }
//   void scale(int64_t n, float factor, const float* x, float* y) {
//     launch(scale_kernel, blocks_for(n, 256), 256, 0, n, factor, x, y);
//   }
//   }  // namespace hashgrad::HASHGRAD_GPU
//
// Kernels and the functions that launch them stand in namespace hashgrad::HASHGRAD_GPU, so that both builds
// of one source fit in one program. emulator/README.md has the rules that keep a kernel right in both.
#pragma once

#if defined(__CUDACC__)
#include <cuda_runtime.h>

#define HASHGRAD_GPU cuda
#define HASHGRAD_EMULATED 0
/// Before a loop of constant length: unrolls it.
#define GPU_UNROLL _Pragma("unroll")
/// A variable of the block: GPU_SHARED(float, tile, [16][17]); or GPU_SHARED(int, count); Not initialised.
#define GPU_SHARED(type, name, ...) __shared__ type name __VA_ARGS__
#else
#include "cuda/emulator/device.h"

#define HASHGRAD_GPU emu
#define HASHGRAD_EMULATED 1
#define GPU_UNROLL
#define GPU_SHARED(type, name, ...) HASHGRAD_EMULATED_SHARED(type, name, __VA_ARGS__)
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "core/error.h"
#include "cuda/launch.h"

namespace hashgrad::HASHGRAD_GPU {

/// All lanes of a warp, for the masks of __shfl_xor_sync and its kind.
inline constexpr unsigned full_warp = 0xffffffffu;

/// The dynamic shared memory of the block (`shared_bytes` of launch), aligned to 128 bytes.
template <class T>
__device__ __forceinline__ T* dyn_shared() {
#if HASHGRAD_EMULATED
  return reinterpret_cast<T*>(emulator::dynamic_shared);
#else
  extern __shared__ __align__(128) unsigned char hashgrad_dynamic_shared[];
  return reinterpret_cast<T*>(hashgrad_dynamic_shared);
#endif
}

/// This thread's place in its warp, 0 to 31.
__device__ __forceinline__ unsigned lane_id() {
#if HASHGRAD_EMULATED
  return emulator::current_lane;
#else
  unsigned lane;
  asm("mov.u32 %0, %%laneid;" : "=r"(lane));
  return lane;
#endif
}

/// Number of this thread in its block (x runs fastest), and how many there are.
__device__ __forceinline__ unsigned thread_rank() {
  return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
}
__device__ __forceinline__ unsigned block_threads() { return blockDim.x * blockDim.y * blockDim.z; }

/// For one-dimensional launches: number of this thread in the whole grid, and how many there are.
__device__ __forceinline__ int64_t grid_rank() { return int64_t{blockIdx.x} * blockDim.x + threadIdx.x; }
__device__ __forceinline__ int64_t grid_threads() { return int64_t{gridDim.x} * blockDim.x; }

/// The value of lane `lane_id() ^ distance`; unlike __shfl_xor_sync for any trivially copyable T of whole
/// words, a pair of value and index, for instance. The whole warp must take part.
template <class T>
__device__ __forceinline__ T shuffle_xor(T value, int distance) {
  if constexpr (std::is_arithmetic_v<T>) {
    return __shfl_xor_sync(full_warp, value, distance);
  } else {
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) % sizeof(unsigned) == 0);
    unsigned words[sizeof(T) / sizeof(unsigned)];
    memcpy(words, &value, sizeof(T));
    for (unsigned& word : words) word = __shfl_xor_sync(full_warp, word, distance);
    memcpy(&value, words, sizeof(T));
    return value;
  }
}

/// Gives every lane op over the values of all 32, combined as a butterfly (distance 16, 8, 4, 2, 1): one
/// order, and the same bits, always. `op` must be commutative. The whole warp must take part.
template <class T, class Op>
__device__ __forceinline__ T warp_reduce(T value, Op op) {
#if HASHGRAD_EMULATED
  return emulator::warp_reduce(value, op, here());  // the same butterfly, but one switch instead of five
#else
  GPU_UNROLL
  for (int distance = 16; distance > 0; distance /= 2) value = op(value, shuffle_xor(value, distance));
  return value;
#endif
}

/// Gives every thread of the block op over the values of all, in one fixed order. `identity` is op's neutral
/// element. The block must consist of whole warps, and every thread must call this; it is a barrier.
template <class T, class Op>
__device__ T block_reduce(T value, T identity, Op op) {
  GPU_SHARED(T, of_warp, [32]);
  value = warp_reduce(value, op);
  const unsigned lane = lane_id(), warp = thread_rank() / 32, warps = block_threads() / 32;
  if (lane == 0) of_warp[warp] = value;
  __syncthreads();
  value = warp_reduce(lane < warps ? of_warp[lane] : identity, op);
  __syncthreads();  // of_warp may be written again
  return value;
}

}  // namespace hashgrad::HASHGRAD_GPU
