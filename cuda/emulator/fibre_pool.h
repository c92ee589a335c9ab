// The fibres on which the threads of a block run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "cuda/emulator/context.h"

namespace hashgrad::emulator {

struct Fibre {
  Fibre(size_t stack_bytes, size_t unused, Context::Entry entry) : stack(stack_bytes) {
    context.prepare(stack, unused, entry);
  }
  Stack stack;
  Context context;
  int next_thread = -1;  // the CUDA thread that it starts when it is switched to
};

/// Fibres are made when needed and used again. One that has nothing to do waits in entry() for its next
/// thread.
class FibrePool {
 public:
  explicit FibrePool(Context::Entry entry) : entry_(entry) {}

  void begin_block(int threads, int64_t block);
  /// A fibre that will start this thread of the block.
  Fibre* take(int thread);
  void give_back(Fibre* fibre);
  /// Frees all fibres, whatever stands on their stacks.
  void abandon();

 private:
  Fibre* make();

  Context::Entry entry_;
  std::vector<std::unique_ptr<Fibre>> all_;
  std::vector<Fibre*> idle_;
  size_t parity_ = 0;
};

}  // namespace hashgrad::emulator
