// Starting a kernel on the calling thread's current stream. Included by cuda/gpu.h.
#pragma once

#include <concepts>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "core/error.h"
#include "cuda/runtime.h"
#include "cuda/site.h"

namespace hashgrad::HASHGRAD_GPU {

/// The size of a grid or a block: a dim3 or one integer of any type, checked. Remembers the line of the
/// launch, and the function that it stands in.
struct Extent {
  dim3 size;
  Site site;
  const char* function;

  Extent(dim3 d, Site at = here(__builtin_FILE(), __builtin_LINE()), const char* in = __builtin_FUNCTION())
      : size(d), site(at), function(in) {}
  template <std::integral T>
  Extent(T n, Site at = here(__builtin_FILE(), __builtin_LINE()), const char* in = __builtin_FUNCTION())
      : size(static_cast<unsigned>(n)), site(at), function(in) {
    if (std::cmp_less(n, 0) || std::cmp_greater(n, 0x7fffffff))
      fail("{}: a kernel cannot be launched with {} blocks or threads", to_string(at), n);
  }
};

#if !HASHGRAD_EMULATED
/// Lets the kernel be started with so much dynamic shared memory, from now on: its limit is raised, never
/// lowered. The limit belongs to the kernel, whichever thread starts it, and to what graphs recorded of it: a
/// small launch behind a large one, in one recording, must not take from the large one what it needs when the
/// graph is made.
cudaError_t allow_shared(const void* kernel, size_t bytes);
#endif

/// How many blocks of `per_block` threads n elements of work take; none for none.
constexpr int64_t blocks_for(int64_t n, int64_t per_block) { return (n + per_block - 1) / per_block; }

/// Runs kernel(args...) on grid x block threads with this much dynamic shared memory, on the current stream.
/// Returns before the kernel has ended (the emulator: after). A grid with a zero dimension is no work. A
/// kernel that cannot be started is an Error that names the line of the launch and the reason.
template <class... Parameters>
void launch(void (*kernel)(Parameters...), Extent grid, Extent block, size_t shared_bytes,
            std::type_identity_t<Parameters>... args) {
  if (grid.size.x == 0 || grid.size.y == 0 || grid.size.z == 0) return;
#if HASHGRAD_EMULATED
  emulator::launch(current_stream(), {grid.size, block.size, shared_bytes, grid.site, grid.function},
                   [kernel, args...] { kernel(args...); });
#else
  constexpr size_t without_asking = 48 << 10;  // more dynamic shared memory than this must be asked for
  cudaError_t status = cudaSuccess;
  if (shared_bytes > without_asking)
    status = allow_shared(reinterpret_cast<const void*>(kernel), shared_bytes);
  if (status == cudaSuccess) {
    kernel<<<grid.size, block.size, shared_bytes, static_cast<cudaStream_t>(current_stream())>>>(args...);
    status = cudaPeekAtLastError();
  }
  if (status == cudaSuccess) return;
  static_cast<void>(cudaGetLastError());
  fail(
      "cuda: the kernel launched at {} in {} did not start: {} (grid {},{},{}, block {},{},{}, {} bytes of "
      "shared memory)",
      to_string(grid.site), grid.function, cudaGetErrorString(status), grid.size.x, grid.size.y, grid.size.z,
      block.size.x, block.size.y, block.size.z, shared_bytes);
#endif
}

}  // namespace hashgrad::HASHGRAD_GPU
