#include "cuda/emulator/device_blocks.h"

#include <functional>
#include <map>
#include <mutex>
#include <new>
#include <sys/mman.h>
#include <vector>

#include "core/error.h"
#include "cuda/emulator/options.h"

namespace hashgrad::emulator {
namespace {

constexpr size_t alignment = 256;

/// One range of addresses that can be closed to the host as a whole. Freed pieces are used again by exact
/// size.
class StrictArena {
 public:
  void* allocate(size_t bytes) {
    const size_t size =
        (bytes + alignment - 1) / alignment * alignment + alignment;  // a gap between neighbours
    std::vector<std::byte*>& free = free_[size];
    if (!free.empty()) {
      std::byte* p = free.back();
      free.pop_back();
      return p;
    }
    if (!base_) reserve();
    if (base_ == nullptr || used_ + size > reserved) return nullptr;
    std::byte* p = base_ + used_;
    used_ += size;
    if (open_ && !protect(PROT_READ | PROT_WRITE)) return nullptr;
    return p;
  }

  bool owns(const void* p) const {
    const std::less<const void*> before;
    return base_ != nullptr && !before(p, base_) && before(p, base_ + reserved);
  }

  void release(void* p, size_t bytes) {
    const size_t size = (bytes + alignment - 1) / alignment * alignment + alignment;
    free_[size].push_back(static_cast<std::byte*>(p));
  }

  void set_open(bool open) {
    open_ = open;
    if (used_ > 0) static_cast<void>(protect(open ? PROT_READ | PROT_WRITE : PROT_NONE));
  }

 private:
  static constexpr size_t reserved = size_t{64} << 30;  // addresses, not memory

  void reserve() {
    void* p = mmap(nullptr, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p != MAP_FAILED) base_ = static_cast<std::byte*>(p);
  }
  bool protect(int access) const {
    constexpr size_t page = 4096;
    return mprotect(base_, (used_ + page - 1) / page * page, access) == 0;
  }

  std::byte* base_ = nullptr;
  size_t used_ = 0;
  bool open_ = false;
  std::map<size_t, std::vector<std::byte*>> free_;
};

struct Blocks {
  std::mutex mutex;
  std::map<const void*, size_t> in_use;
  StrictArena arena;
  int open = 0;
};

Blocks& blocks() {
  static Blocks& all = *new Blocks;  // never destroyed: tensors in static objects may outlive main
  return all;
}

}  // namespace

void* allocate_device(size_t bytes) {
  Blocks& m = blocks();
  const std::lock_guard lock(m.mutex);
  void* p = options().strict ? m.arena.allocate(bytes)
                             : ::operator new (bytes, std::align_val_t{alignment}, std::nothrow);
  if (p) m.in_use[p] = bytes;
  return p;
}

void free_device(void* p) {
  Blocks& m = blocks();
  const std::lock_guard lock(m.mutex);
  const auto block = m.in_use.find(p);
  check(block != m.in_use.end(), "emu: {} is freed, but is no memory of the device", p);
  if (m.arena.owns(p))
    m.arena.release(p, block->second);
  else
    ::operator delete (p, std::align_val_t{alignment});
  m.in_use.erase(block);
}

bool is_device_memory(const void* p, size_t bytes) {
  Blocks& m = blocks();
  const std::lock_guard lock(m.mutex);
  auto after = m.in_use.upper_bound(p);
  if (after == m.in_use.begin()) return false;
  const auto& [start, size] = *--after;
  const auto offset =
      static_cast<size_t>(static_cast<const std::byte*>(p) - static_cast<const std::byte*>(start));
  return offset <= size && bytes <= size - offset;
}

OpenMemory::OpenMemory() {
  Blocks& m = blocks();
  const std::lock_guard lock(m.mutex);
  if (m.open++ == 0) m.arena.set_open(true);
}

OpenMemory::~OpenMemory() {
  Blocks& m = blocks();
  const std::lock_guard lock(m.mutex);
  if (--m.open == 0) m.arena.set_open(false);
}

}  // namespace hashgrad::emulator
