// What device code, as the emulator spells it, asks of the scheduler. Nothing else of the scheduler is
// visible to kernels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "cuda/emulator/sanitizers.h"
#include "cuda/emulator/types.h"
#include "cuda/site.h"

// Variables of the OS thread that are read and written often; initial-exec makes an access one instruction.
#define HASHGRAD_EMULATED_TLS __thread __attribute__((tls_model("initial-exec")))

namespace hashgrad::emulator {

/// One lane's part in an operation of its warp. `function` runs once, on the last lane to arrive, with the
/// payloads of all `lanes` (a bit each; payloads is indexed by lane), before any of them goes on.
using WarpFunction = void (*)(void** payloads, uint32_t lanes);
void warp_operation(uint32_t mask, void* payload, WarpFunction function, Site site);

/// The barrier of the block, and what it makes of every thread's `value`.
enum class Vote { none, count, all, any };
int block_barrier(Vote vote, bool value, Site site);

/// Lets the other threads of the block run; for loops that wait.
void give_way();

/// A failure of the kernel at this line: an Error that names launch, block and thread.
[[noreturn]] void fail_kernel(const std::string& what, Site site);

/// Where the block in progress keeps one shared variable. Every block has fresh memory, so a sanitizer sees
/// it as such.
struct SharedSlot {
  uint64_t epoch;
  void* at;
};
void* new_shared_variable(SharedSlot& slot, size_t bytes, size_t align);

extern HASHGRAD_EMULATED_TLS uint64_t shared_epoch;  // a number for each block that this OS thread has run
extern HASHGRAD_EMULATED_TLS unsigned current_lane;
extern HASHGRAD_EMULATED_TLS unsigned char* dynamic_shared;

inline void* shared_variable(SharedSlot& slot, size_t bytes, size_t align) {
#if !EMU_TSAN  // where slots must not be touched by instrumented code
  if (slot.epoch == shared_epoch) return slot.at;
#endif
  return new_shared_variable(slot, bytes, align);
}

/// A cp.async that has not been waited for. `inside` false: zeros are to be written.
struct PendingCopy {
  void* to;
  const void* from;
  uint32_t bytes;
  bool inside;
};
void queue_copy(const PendingCopy& copy, Site site);
void commit_copies();
/// The oldest copy that may no longer be pending when at most `groups` committed groups may be; null when
/// none is left.
const PendingCopy* next_due_copy(int groups);

struct LaunchShape {
  emu::dim3 grid, block;
  size_t shared_bytes;
  Site site;
  const char* function;
};
/// Runs thread() once for every CUDA thread, or, while `stream` captures, records that.
void launch(void* stream, const LaunchShape& shape, std::function<void()> thread);

}  // namespace hashgrad::emulator

namespace hashgrad::emu {

// Real variables, rewritten whenever another thread of the block goes on.
extern HASHGRAD_EMULATED_TLS uint3 threadIdx;
extern HASHGRAD_EMULATED_TLS uint3 blockIdx;
extern HASHGRAD_EMULATED_TLS uint3 blockDim;
extern HASHGRAD_EMULATED_TLS uint3 gridDim;
inline constexpr int warpSize = 32;

}  // namespace hashgrad::emu
