// The cp.async copies that the threads of a block have begun and not waited for.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "cuda/emulator/hooks.h"

namespace hashgrad::emulator {

/// A queue for each thread of a block. A copy happens when it is waited for, the latest moment that hardware
/// allows.
class CopyQueues {
 public:
  static constexpr int capacity = 256;  // copies under way per thread

  void begin_block(int threads);
  /// False when the thread's queue is full.
  [[nodiscard]] bool add(int thread, const PendingCopy& copy);
  void commit(int thread);
  /// The next copy that is due when at most `groups` committed groups may be pending, taken out; null when
  /// none is.
  const PendingCopy* next_due(int thread, int groups);

 private:
  struct Head {
    int first, count, groups;  // `groups` have been committed so far
  };
  struct Copy {
    PendingCopy copy;
    int group;
  };
  struct Unmap {
    void operator()(Copy* copies) const;
  };

  Copy& at(int thread, int place);
  std::vector<Head> heads_;
  std::unique_ptr<Copy[], Unmap> copies_;
};

}  // namespace hashgrad::emulator
