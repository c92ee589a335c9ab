#include "core/storage.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <sys/mman.h>
#include <unordered_map>
#include <vector>

#include "core/cpu_memory.h"
#include "core/device_memory.h"
#include "core/error.h"

namespace hashgrad {
namespace {

constexpr size_t alignment = 64;
constexpr size_t huge_page = size_t{2} << 20;
constexpr size_t cached_from = size_t{64} << 10;  // smaller blocks are malloc's business
constexpr size_t cache_limit = size_t{2} << 30;

// The sanitizers find a use after free only if freed memory is really given back, and a step past the end
// only if nothing is rounded up.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool caching = false;
#else
constexpr bool caching = true;
#endif

/// Size classes four to a power of two: at most a quarter is wasted, and blocks are found again.
size_t size_class(size_t bytes) {
  if (!caching) return bytes;
  if (bytes < cached_from) return (bytes + alignment - 1) / alignment * alignment;
  size_t step = cached_from / 4;
  while (step * 8 <= bytes) step *= 2;
  return (bytes + step - 1) / step * step;
}

std::atomic<bool> poison{false};

class Pool {
 public:
  std::byte* allocate(size_t bytes) {
    const std::lock_guard lock(mutex_);
    std::byte* block = from_cache(bytes);
    if (!block) block = from_system(bytes);
    count_.live += static_cast<int64_t>(bytes);
    count_.peak = std::max(count_.peak, count_.live);
    return block;
  }

  void release(std::byte* block, size_t bytes) noexcept {
    const std::lock_guard lock(mutex_);
    count_.live -= static_cast<int64_t>(bytes);
    if (const auto it = roomy_.find(block); it != roomy_.end()) {
      bytes = it->second;
      roomy_.erase(it);
    }
    if (caching && bytes >= cached_from &&
        count_.cached + static_cast<int64_t>(bytes) <= int64_t{cache_limit}) {
      try {
        free_[bytes].push_back(block);
        count_.cached += static_cast<int64_t>(bytes);
        return;
      } catch (const std::bad_alloc&) {  // no room to remember it: give it back
      }
    }
    std::free(block);
  }

  MemoryCount count() {
    const std::lock_guard lock(mutex_);
    return count_;
  }
  void reset_peak() {
    const std::lock_guard lock(mutex_);
    count_.peak = count_.live;
  }

 private:
  /// A free block of up to twice the size, or null. With exact fits alone every size of tensor in a network
  /// would hold blocks of its own.
  std::byte* from_cache(size_t bytes) {
    auto it = free_.lower_bound(bytes);
    while (it != free_.end() && it->second.empty()) ++it;
    if (it == free_.end() || it->first > 2 * bytes) return nullptr;
    std::byte* block = it->second.back();
    if (it->first != bytes) roomy_[block] = it->first;
    it->second.pop_back();
    count_.cached -= static_cast<int64_t>(it->first);
    return block;
  }

  std::byte* from_system(size_t bytes) {
    const size_t align = bytes >= huge_page ? huge_page : alignment;
    void* block = nullptr;
    if (posix_memalign(&block, align, bytes) != 0) {
      drop_cache();
      if (posix_memalign(&block, align, bytes) != 0)
        fail("memory: {} more bytes do not fit ({} are in use)", bytes, count_.live);
    }
    if (bytes >= huge_page) madvise(block, bytes, MADV_HUGEPAGE);
    return static_cast<std::byte*>(block);
  }

  void drop_cache() {
    for (auto& [size, blocks] : free_)
      for (std::byte* block : blocks) std::free(block);
    free_.clear();
    count_.cached = 0;
  }

  std::mutex mutex_;
  std::map<size_t, std::vector<std::byte*>> free_;
  std::unordered_map<std::byte*, size_t> roomy_;  // sizes of blocks in use that are larger than was asked for
  MemoryCount count_;
};

Pool& pool() {
  static Pool& p = *new Pool;  // never destroyed: tensors in static objects may outlive main
  return p;
}

}  // namespace

std::byte* CpuMemory::allocate(size_t bytes) {
  const size_t size = size_class(bytes);
  std::byte* block = pool().allocate(size);
  if (poison) std::memset(block, 0xFF, size);
  return block;
}
void CpuMemory::release(std::byte* block, size_t bytes) noexcept { pool().release(block, size_class(bytes)); }
MemoryCount CpuMemory::count() { return pool().count(); }
void CpuMemory::reset_peak() { pool().reset_peak(); }

MemoryCount memory_count(Device device) { return memory_of(device).count(); }
void reset_peak_memory(Device device) { memory_of(device).reset_peak(); }
bool poison_new_memory(bool on) { return poison.exchange(on); }
bool poisons_new_memory() { return poison; }

Storage::Storage(size_t bytes, Device device) {
  const size_t size = std::max<size_t>(bytes, 1);
  DeviceMemory& memory = memory_of(device);
  block_ = std::shared_ptr<std::byte>(memory.allocate(size),
                                      [size, &memory](std::byte* block) { memory.release(block, size); });
}

}  // namespace hashgrad
