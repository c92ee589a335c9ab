// The threads behind parallel loops (core/parallel.h).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>

namespace hashgrad {

/// Threads that help whoever runs a loop, and never hold it up: the caller starts at once, those that are
/// awake join, and only those that have joined are waited for. So a loop costs little where the others sleep,
/// or where other processes keep their cores busy; a barrier of all threads then waits for the scheduler, and
/// was measured to make small networks 45 times slower beside one busy process.
class Team {
 public:
  /// The one team of this process. It is never destroyed, its threads end with the process.
  static Team& instance();

  /// Runs `work` on this thread, and on up to `helpers` others that come in time; returns when none of them
  /// is in it any more. Runs it here alone while another thread's loop has the team. `work` must not throw.
  void run(int helpers, const std::function<void()>& work);

 private:
  void hire(int helpers);
  [[noreturn]] void help();
  bool join();
  void leave();

  std::mutex in_use_;
  const std::function<void()>* work_ = nullptr;
  int hired_ = 0;
  std::atomic<uint32_t> loops_{0};  // begun so far; who sleeps waits for it to change
  /// Seats that are free in the loop that runs, times `seat`, plus the helpers inside. No seats: closed.
  std::atomic<uint32_t> door_{0};
};

}  // namespace hashgrad
