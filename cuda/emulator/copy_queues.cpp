#include "cuda/emulator/copy_queues.h"

#include <sys/mman.h>

#include "core/error.h"
#include "cuda/emulator/tsan.h"

namespace hashgrad::emulator {
namespace {

constexpr size_t most_threads = 1024;
constexpr size_t all_copies = most_threads * CopyQueues::capacity;

}  // namespace

void CopyQueues::Unmap::operator()(Copy* copies) const { munmap(copies, all_copies * sizeof(Copy)); }

void CopyQueues::begin_block(int threads) { heads_.assign(static_cast<size_t>(threads), Head{}); }

// Mapped at once and touched only as far as used: most kernels never come here, and none allocates here on a
// fibre.
CopyQueues::Copy& CopyQueues::at(int thread, int place) {
  if (!copies_) {
    const UnseenWrites unseen;  // ThreadSanitizer takes a mapping for a write by the thread that asked for it
    void* memory = mmap(nullptr, all_copies * sizeof(Copy), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    check(memory != MAP_FAILED, "emu: no memory for cp.async");
    copies_.reset(static_cast<Copy*>(memory));
  }
  return copies_[static_cast<size_t>(thread) * capacity + static_cast<size_t>(place % capacity)];
}

bool CopyQueues::add(int thread, const PendingCopy& copy) {
  Head& head = heads_[static_cast<size_t>(thread)];
  if (head.count == capacity) return false;
  at(thread, head.first + head.count) = {copy, head.groups};
  ++head.count;
  return true;
}

void CopyQueues::commit(int thread) { ++heads_[static_cast<size_t>(thread)].groups; }

const PendingCopy* CopyQueues::next_due(int thread, int groups) {
  Head& head = heads_[static_cast<size_t>(thread)];
  if (head.count == 0) return nullptr;
  const Copy& oldest = at(thread, head.first);
  if (oldest.group >= head.groups - groups) return nullptr;  // may still be under way, or is not committed
  head.first = (head.first + 1) % capacity;
  --head.count;
  return &oldest.copy;
}

}  // namespace hashgrad::emulator
