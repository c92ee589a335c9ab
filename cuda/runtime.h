// Memory, copies, streams, events and graphs of the engines beside the CPU. Plain C++: no CUDA header comes
// with it. Every declaration stands in hashgrad::cuda and in hashgrad::emu, as far as this build has them
// (cuda/engines.h).
//
// Work is issued on the calling thread's current stream, runs in order, and may still be running when a call
// returns. A failure is an Error; one inside a kernel may show only at a later call (in the emulator: at the
// launch).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "core/storage.h"
#include "cuda/engines.h"

// clang-format off
namespace hashgrad {
HASHGRAD_ENGINES(

/// Whether this engine can be used here: false when there is no driver, no device, or anything else wrong
/// with it.
bool available();
/// What is wrong with it; empty when it is available.
const std::string& obstacle();

struct Properties {
  std::string name;
  int major = 0, minor = 0;      // compute capability; the emulator has the instructions of 8.0
  int multiprocessors = 0;
  int clock_khz = 0;             // 0: not known
  int64_t memory = 0;            // bytes in all
  int64_t shared_per_block = 0;  // bytes that a launch may ask for
};
/// Of the first device.
const Properties& properties();

/// At least `bytes` bytes aligned to 256, content undefined (the emulator, and poison_new_memory(true):
/// NaNs). Too little memory is an Error with bytes asked for, in use, and the limit.
void* allocate(size_t bytes);
/// Gives back what allocate(bytes) returned. Work already issued on the streams that were current at the two
/// calls may still use the block: it is not handed out again to run before them. Other streams must be waited
/// for.
void release(void* block, size_t bytes) noexcept;

/// Bytes in use, at most in use, and kept for reuse.
MemoryCount memory_count();
void reset_peak_memory();
/// From now on allocate behaves as if the device had this much memory; 0: all there is.
void set_memory_limit(int64_t bytes);
/// Gives blocks that are kept for reuse back to the driver.
void drop_cache();

/// The most bytes that copy_to_device() sends along with a launch, whose arguments CUDA copies aside: labels and row
/// numbers of a batch.
inline constexpr size_t carried_bytes = 2048;
/// `from` may be overwritten when this returns. More than carried_bytes wait for the work before them.
void copy_to_device(void* to, const void* from, size_t bytes);
/// Waits until `to` has been written, and so for all work before.
void copy_to_host(void* to, const void* from, size_t bytes);
/// Between two blocks of this engine; they may overlap only if they are the same.
void copy_within(void* to, const void* from, size_t bytes);
void set_bytes(void* to, int byte, size_t bytes);
/// Waits for all work on all streams; first for graphs that other threads are recording to be complete.
void synchronize();

class Event;

/// A queue of work; those of different streams run side by side.
class Stream {
 public:
  Stream();
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  /// Waits until all its work is done.
  void synchronize();
  /// Work issued from now on starts after what `event` recorded.
  void wait(const Event& event);
  void* handle() const { return handle_; }

 private:
  void* handle_ = nullptr;
};

/// The handle that CUDA calls take, of the calling thread's current stream; null is the default stream.
void* current_stream();

/// Makes a stream the calling thread's current one as long as this lives.
class StreamScope {
 public:
  explicit StreamScope(const Stream& stream);
  ~StreamScope();
  StreamScope(const StreamScope&) = delete;
  StreamScope& operator=(const StreamScope&) = delete;

 private:
  void* before_;
};

/// A point in the work of a stream.
class Event {
 public:
  Event();
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  /// After the work issued so far on the current stream.
  void record();
  /// Waits for this event and returns the milliseconds since `start`, both recorded.
  double elapsed_ms(const Event& start) const;
  void* handle() const { return handle_; }

 private:
  void* handle_ = nullptr;
};

/// Work that was recorded once and can be run again at the cost of a single launch.
class Graph {
 public:
  Graph();
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  /// Calls work(), which only records: launches, copy_within and set_bytes run at replay(), not now. Copies
  /// from or to the host and waiting are Errors. Blocks allocated meanwhile belong to the graph, released or
  /// not.
  void capture(const std::function<void()>& work);
  /// Runs the recorded work on the current stream, with the pointers and values of the capture.
  void replay();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

)  // HASHGRAD_ENGINES
}  // namespace hashgrad
// clang-format on
