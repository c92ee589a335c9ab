// cp.async: copies from global to shared memory that run while the thread goes on.
//
//   cp_async<16>(&tile[next][row][column], source);   // begins
//   cp_async_commit();                                // closes a group of copies
//   cp_async_wait<1>();                               // at most the newest group is still under way
//   __syncthreads();                                  // now the other threads' copies are visible too
//
// Devices below 8.0 have no such instruction: there the copy is done at once. In the emulator it is done as
// late as allowed, and its destination holds NaNs until then, so that a missing wait shows.
#pragma once

#include <cstdint>
#include <cstring>

#include "cuda/gpu.h"

namespace hashgrad::HASHGRAD_GPU {

/// Begins to copy 4, 8 or 16 bytes; both addresses are multiples of that. Where `inside` is false nothing is
/// read and zeros are written: the edge of a matrix.
#if HASHGRAD_EMULATED
template <int bytes>
void cp_async(void* to_shared, const void* from_global, bool inside = true,
              Site site = here(__builtin_FILE(), __builtin_LINE())) {
  static_assert(bytes == 4 || bytes == 8 || bytes == 16);
  if (reinterpret_cast<uintptr_t>(to_shared) % bytes != 0 ||
      (inside && reinterpret_cast<uintptr_t>(from_global) % bytes != 0))
    emulator::fail_kernel(
        fmt::format("cp_async<{}> from {} to {} is not aligned", bytes, from_global, to_shared), site);
  std::memset(to_shared, 0xff, bytes);
  emulator::queue_copy({to_shared, from_global, bytes, inside}, site);
}

inline void cp_async_commit() { emulator::commit_copies(); }

template <int groups>
void cp_async_wait() {
  while (const emulator::PendingCopy* copy = emulator::next_due_copy(groups)) {
    if (copy->inside)
      std::memcpy(copy->to, copy->from, copy->bytes);
    else
      std::memset(copy->to, 0, copy->bytes);
  }
}
#else
template <int bytes>
__device__ __forceinline__ void cp_async(void* to_shared, const void* from_global, bool inside = true) {
  static_assert(bytes == 4 || bytes == 8 || bytes == 16);
#if __CUDA_ARCH__ >= 800
  const unsigned to = static_cast<unsigned>(__cvta_generic_to_shared(to_shared));
  const int available = inside ? bytes : 0;  // the rest is filled with zeros
  if constexpr (bytes == 16)                 // past the first-level cache
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from_global), "r"(available)
                 : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(to), "l"(from_global), "n"(bytes),
                 "r"(available)
                 : "memory");
#else
  using Word = std::conditional_t<bytes == 4, uint32_t, std::conditional_t<bytes == 8, uint2, uint4>>;
  *static_cast<Word*>(to_shared) = inside ? *static_cast<const Word*>(from_global) : Word{};
#endif
}

__device__ __forceinline__ void cp_async_commit() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

/// Waits until at most the newest `groups` groups of this thread's copies are under way.
template <int groups>
__device__ __forceinline__ void cp_async_wait() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(groups) : "memory");
#endif
}
#endif

}  // namespace hashgrad::HASHGRAD_GPU
