#include "cuda/emulator/fibre_pool.h"

#include "cuda/emulator/tsan.h"

namespace hashgrad::emulator {
namespace {

// Kernels hold little on the stack; instrumented code holds several times as much.
constexpr size_t stack_bytes = (EMU_ASAN || EMU_TSAN ? 256 : 64) << 10;

/// Tops of equal alignment would compete for the same few cache sets; this spreads them over a first-level
/// cache.
constexpr size_t stagger(size_t fibre) { return fibre * 448 % 16384; }

}  // namespace

void FibrePool::begin_block(int threads, int64_t block) {
  idle_.reserve(1024);
  if (!under_tsan) return;
  // For ThreadSanitizer a thread keeps its fibre: a stack used again would look like a race. Neighbouring
  // blocks take turns between two sets: on the same fibres their threads of equal number would look ordered.
  // All fibres are made here, not on a fibre.
  parity_ = static_cast<size_t>(block & 1);
  while (all_.size() < 2 * static_cast<size_t>(threads)) make();
}

Fibre* FibrePool::take(int thread) {
  Fibre* fibre;
  if (under_tsan) {
    fibre = all_[2 * static_cast<size_t>(thread) + parity_].get();
  } else if (idle_.empty()) {
    fibre = make();
  } else {
    fibre = idle_.back();
    idle_.pop_back();
  }
  fibre->next_thread = thread;
  return fibre;
}

void FibrePool::give_back(Fibre* fibre) {
  if (!under_tsan) idle_.push_back(fibre);
}

void FibrePool::abandon() {
  idle_.clear();
  all_.clear();
}

Fibre* FibrePool::make() {
  all_.push_back(std::make_unique<Fibre>(stack_bytes, stagger(all_.size()), entry_));
  return all_.back().get();
}

}  // namespace hashgrad::emulator
