// The allocator (cuda/runtime.h): blocks are kept and reused, since the driver's own allocation stops the
// device.
#include <algorithm>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/storage.h"
#include "cuda/gpu.h"
#include "cuda/memory.h"
#include "cuda/runtime.h"
#include "cuda/status.h"

namespace hashgrad::HASHGRAD_GPU {

using Block = std::pair<size_t, void*>;  // size and address

struct GraphMemory {
  std::vector<Block> released;
  std::vector<Block> of_others;  // of other graphs, released during the recording, which may use them
};

namespace {

thread_local GraphMemory* graph_in_capture = nullptr;

/// Shared by the threads that record, locked alone by one that waits for the device.
std::shared_mutex& recordings() {
  static std::shared_mutex& mutex = *new std::shared_mutex;  // never destroyed, as the allocator below
  return mutex;
}

// The sanitizers find a use after free only if freed memory is really given back.
#if HASHGRAD_EMULATED && (EMU_ASAN || EMU_TSAN)
constexpr bool caching = false;
#else
constexpr bool caching = true;
#endif

/// Size classes four to a power of two from 512 bytes on: at most a quarter is wasted, and blocks are found
/// again by exact size. Without a cache blocks have the size asked for, so that AddressSanitizer knows where
/// they end.
size_t size_class(size_t bytes) {
  if (!caching) return std::max<size_t>(bytes, 1);
  constexpr size_t smallest_step = 512;
  size_t step = smallest_step;
  while (step * 8 <= bytes) step *= 2;
  return std::max(smallest_step, (bytes + step - 1) / step * step);
}

class Allocator {
 public:
  void* allocate(size_t bytes) {
    const std::lock_guard lock(mutex_);
    void* block = reuse(bytes);
    if (!block) block = from_device(bytes);
    owners_[block] = {current_stream(), graph_in_capture};
    live_ += static_cast<int64_t>(bytes);
    peak_ = std::max(peak_, live_);
    return block;
  }

  void release(void* block, size_t bytes) noexcept {
    const std::lock_guard lock(mutex_);
    try {
      keep(block, bytes);
    } catch (const std::exception&) {  // no room to remember it, or the device has failed: give it back
      owners_.erase(block);
      live_ -= static_cast<int64_t>(bytes);
      give_back({bytes, block});
    }
  }

  MemoryCount count() {
    const std::lock_guard lock(mutex_);
    return {live_, peak_, cached_};
  }
  void reset_peak() {
    const std::lock_guard lock(mutex_);
    peak_ = live_;
  }
  void set_limit(int64_t bytes) {
    const std::lock_guard lock(mutex_);
    limit_ = bytes;
  }
  void drop() {
    const std::lock_guard lock(mutex_);
    drop_cache();
  }

  void end_graph(GraphMemory* graph) {
    const std::lock_guard lock(mutex_);
    for (auto& [block, owner] : owners_)
      if (owner.graph == graph) owner.graph = nullptr;
    for (const Block& block : graph->of_others) {
      const auto found = owners_.find(block.second);
      GraphMemory* const owner = found->second.graph;  // null when it has ended
      (owner ? owner : graph)->released.push_back(block);
      owners_.erase(found);
    }
    for (const Block& block : graph->released) {
      live_ -= static_cast<int64_t>(block.first);
      insert(block, nullptr);
    }
  }

  void forget_stream(void* stream) {
    const std::lock_guard lock(mutex_);
    for (auto& [block, owner] : owners_)
      if (owner.stream == stream) owner.stream = nullptr;
    const auto found = free_.find(stream);
    if (found == free_.end()) return;
    for (auto& [bytes, blocks] : found->second) {
      auto& list = free_[nullptr][bytes];
      list.insert(list.end(), blocks.begin(), blocks.end());
    }
    free_.erase(stream);
  }

 private:
  struct Owner {
    void* stream;
    GraphMemory* graph;
  };

  /// A block that was released on the current stream: the work that used it comes before the work that will.
  void* reuse(size_t bytes) {
    if (graph_in_capture) {
      auto& released = graph_in_capture->released;
      const auto fits =
          std::find_if(released.begin(), released.end(), [&](Block b) { return b.first == bytes; });
      if (fits == released.end()) return nullptr;
      void* block = fits->second;
      live_ -= static_cast<int64_t>(bytes);
      released.erase(fits);
      return block;
    }
    std::vector<void*>& free = free_[current_stream()][bytes];
    if (free.empty()) return nullptr;
    void* block = free.back();
    free.pop_back();
    cached_ -= static_cast<int64_t>(bytes);
    return block;
  }

  /// Keeps a released block where it may be reused: for its graph, or on the stream that it was allocated on.
  void keep(void* block, size_t bytes) {
    const auto found = owners_.find(block);
    check(found != owners_.end(), "{} memory: {} is no block", engine_name, block);
    const Owner owner = found->second;
    GraphMemory* const graph = owner.graph ? owner.graph : graph_in_capture;
    if (graph_in_capture && graph != graph_in_capture) {
      graph_in_capture->of_others.emplace_back(bytes, block);  // and stays its owner's
      return;
    }
    if (graph) {
      graph->released.emplace_back(bytes, block);
    } else {
      if (owner.stream != current_stream()) let_wait(owner.stream);
      insert({bytes, block}, owner.stream);
      live_ -= static_cast<int64_t>(bytes);
    }
    owners_.erase(found);
  }

  void insert(const Block& block, void* stream_handle) {
    if (!caching) {
      give_back(block);
      return;
    }
    free_[stream_handle][block.first].push_back(block.second);
    cached_ += static_cast<int64_t>(block.first);
  }

  /// Work issued on this stream from now on comes after the work issued so far on the current one.
  static void let_wait(void* stream_handle) {
    cudaEvent_t event = nullptr;
    must(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "release");
    cudaError_t status = cudaEventRecord(event, stream());
    if (status == cudaSuccess)
      status = cudaStreamWaitEvent(static_cast<cudaStream_t>(stream_handle), event, 0);
    static_cast<void>(cudaEventDestroy(event));
    must(status, "release");
  }

  void* from_device(size_t bytes) {
    void* block = nullptr;
    if (within_limit(bytes) && try_device(bytes, block)) return block;
    drop_cache();
    if (within_limit(bytes) && try_device(bytes, block)) return block;
    size_t free = 0, total = 0;
    static_cast<void>(cudaMemGetInfo(&free, &total));
    fail("{} memory: {} more bytes do not fit ({} are in use, the limit is {})", engine_name, bytes, live_,
         limit_ > 0 ? limit_ : static_cast<int64_t>(total));
  }

  bool within_limit(size_t bytes) const {
    return limit_ == 0 || live_ + cached_ + static_cast<int64_t>(bytes) <= limit_;
  }

  static bool try_device(size_t bytes, void*& block) {
    const cudaError_t status = cudaMalloc(&block, bytes);
    if (status == cudaErrorMemoryAllocation) {
      static_cast<void>(cudaGetLastError());
      return false;
    }
    must(status, "allocate");
    return true;
  }

  /// Waits for the device, so work that still uses the block is no danger.
  static void give_back(const Block& block) { static_cast<void>(cudaFree(block.second)); }

  void drop_cache() {
    for (auto& [stream_handle, sizes] : free_)
      for (auto& [bytes, blocks] : sizes)
        for (void* block : blocks) give_back({bytes, block});
    free_.clear();
    cached_ = 0;
  }

  std::mutex mutex_;
  std::map<void*, std::map<size_t, std::vector<void*>>> free_;  // by stream, then by size
  std::unordered_map<void*, Owner> owners_;                     // of the blocks in use
  int64_t live_ = 0, peak_ = 0, cached_ = 0, limit_ = 0;
};

Allocator& allocator() {
  static Allocator& a = *new Allocator;  // never destroyed: tensors in static objects may outlive main
  return a;
}

}  // namespace

void* allocate(size_t bytes) {
  const size_t size = size_class(bytes);
  void* block = allocator().allocate(size);
  if (HASHGRAD_EMULATED || poisons_new_memory()) set_bytes(block, 0xff, size);
  return block;
}

void release(void* block, size_t bytes) noexcept {
  if (block) allocator().release(block, size_class(bytes));
}

MemoryCount memory_count() { return allocator().count(); }
void reset_peak_memory() { allocator().reset_peak(); }
void set_memory_limit(int64_t bytes) { allocator().set_limit(bytes); }
void drop_cache() { allocator().drop(); }

GraphMemory* begin_capture() {
  check(!graph_in_capture, "{}: a graph is being captured already", engine_name);
  graph_in_capture = new GraphMemory;
  recordings().lock_shared();
  return graph_in_capture;
}
void end_capture() noexcept {
  recordings().unlock_shared();
  graph_in_capture = nullptr;
}
void end_graph(GraphMemory* memory) noexcept {
  allocator().end_graph(memory);
  delete memory;
}
bool capturing() { return graph_in_capture != nullptr; }
cudaError_t wait_for_device() noexcept {
  std::unique_lock alone(recordings(), std::defer_lock);
  if (!capturing()) alone.lock();
  return cudaDeviceSynchronize();
}
void forget_stream(void* stream) noexcept { allocator().forget_stream(stream); }

}  // namespace hashgrad::HASHGRAD_GPU
