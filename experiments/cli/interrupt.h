// Ctrl-C in the middle of long work: it stops where it can go on from, and says how.
#pragma once

#include <atomic>
#include <string>

namespace hashgrad::cli {

/// While one lives, the first SIGINT or SIGTERM only sets a flag, which the work looks at, and a second one
/// ends the program at once. One at a time.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  /// For TrainOptions::stop, OracleOptions::stop.
  static const std::atomic<bool>* flag();

 private:
  using Handler = void (*)(int);
  Handler interrupt_, terminate_;
};

/// The run was stopped by a signal after its checkpoint, if any, was written; run_program() returns 130.
struct Interrupted {
  std::string checkpoint;
  std::string advice = "continue with --resume " + checkpoint;
};

/// Throws if `checkpoint` is there: a run started anew would write over it. `flag` goes on with it.
void refuse_unfinished(const std::string& checkpoint, const std::string& flag);

}  // namespace hashgrad::cli
