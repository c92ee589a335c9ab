// Runs the threads of one block, on one OS thread, by turns.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cuda/emulator/context.h"
#include "cuda/emulator/copy_queues.h"
#include "cuda/emulator/fibre_pool.h"
#include "cuda/emulator/hooks.h"
#include "cuda/emulator/options.h"
#include "cuda/emulator/ready_set.h"
#include "cuda/emulator/shared_memory.h"

namespace hashgrad::emulator {

/// One launch, as the blocks see it.
struct Grid {
  LaunchShape shape;
  const std::function<void()>& thread;
  Options options;

  int64_t blocks() const { return int64_t{shape.grid.x} * shape.grid.y * shape.grid.z; }
  /// "the kernel launched at cuda/softmax.cu:41 (softmax)".
  std::string name() const;
};

/// A thread that has to wait (at a barrier, in an operation of its warp) hands over to the next one that is
/// ready, by a direct switch. Threads start as late as possible: one fibre runs thread after thread, and only
/// a thread that has to wait keeps its fibre. A kernel without barriers therefore never switches.
class BlockRunner {
 public:
  /// The calling OS thread's own.
  static BlockRunner& mine();

  /// Whether a kernel is running, so that this is being called from device code.
  bool busy() const { return running_ != nullptr; }
  /// Runs this block to its end. A failure of the kernel is an Error; the runner can be used again after it.
  void run(const Grid& grid, int64_t block);
  void end_grid();

  // For the thread that is running.
  int barrier(Vote vote, bool value, Site site);
  void warp_operation(uint32_t mask, void* payload, WarpFunction function, Site site);
  void give_way();
  void* shared_variable(SharedSlot& slot, size_t bytes, size_t align);
  void queue_copy(const PendingCopy& copy, Site site);
  void commit_copies() { copies_.commit(current_); }
  const PendingCopy* next_due_copy(int groups) { return copies_.next_due(current_, groups); }
  [[noreturn]] void fail_thread(const std::string& what) const;

 private:
  enum class State : uint8_t { fresh, ready, in_warp, at_barrier, done };
  struct Thread {
    emu::uint3 index;
    unsigned lane;
    State state = State::fresh;
    Fibre* fibre = nullptr;
    // Where it waits; the first three for an operation of its warp.
    uint32_t mask = 0;
    void* payload = nullptr;
    WarpFunction function = nullptr;
    Site site{};
  };
  struct Warp {
    uint32_t members = 0, exited = 0, arrived = 0;  // one bit per lane
  };
  /// Addresses that stand for points in time, for ThreadSanitizer; new ones for every block.
  struct Points {
    char barrier[2], arrive[1024], leave[1024];
  };

  BlockRunner();
  void prepare(const Grid& grid, int64_t block);
  void see_everything();
  void prepare_threads(const emu::dim3& block);
  Thread& thread(int i) { return threads_[static_cast<size_t>(i)]; }
  const Thread& thread(int i) const { return threads_[static_cast<size_t>(i)]; }
  Warp& warp_of(int i) { return warps_[static_cast<size_t>(i / 32)]; }

  static void fibre_body();
  template <class F>
  void guarded(const F& f);
  void run_thread(int i, Fibre* fibre);
  void after_exit(int i);
  void suspend();
  Fibre* fibre_for(int i);
  void resume(int i);
  void make_ready(int i);
  void open_barrier();
  void complete(Warp& warp, int base, uint32_t mask, uint32_t lanes);
  std::string deadlock() const;

  Context main_;
  FibrePool fibres_;
  SharedMemory shared_;
  CopyQueues copies_;
  ReadySet ready_;

  // The block in progress.
  const Grid* grid_ = nullptr;
  Fibre* running_ = nullptr;
  int current_ = -1, size_ = 0;
  std::vector<Thread> threads_;
  std::vector<Warp> warps_;
  int exited_ = 0;
  std::exception_ptr error_;

  // Its barrier.
  int waiting_ = 0, votes_ = 0, result_ = 0;
  unsigned opened_ = 0;
  Site barrier_site_{};

  std::unique_ptr<Points> points_;
  std::vector<std::unique_ptr<Points>> points_of_ended_blocks_;
};

}  // namespace hashgrad::emulator
