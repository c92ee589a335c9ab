#include "cuda/emulator/shared_memory.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "cuda/emulator/tsan.h"

namespace hashgrad::emulator {

SharedMemory::Memory SharedMemory::make(size_t bytes, size_t align) {
  Memory memory(static_cast<unsigned char*>(::operator new (bytes, std::align_val_t{align})), Free{align});
  std::memset(memory.get(), 0xff, bytes);
  return memory;
}

void SharedMemory::Free::operator()(unsigned char* p) const {
  ::operator delete (p, std::align_val_t{align});
}

void SharedMemory::begin_block(size_t dynamic_bytes) {
  if (under_tsan) {
    for (Memory& memory : static_) of_ended_blocks_.push_back(std::move(memory));
    if (dynamic_) of_ended_blocks_.push_back(std::move(dynamic_));
  }
  static_.clear();
  static_.reserve(64);  // so that no fibre allocates for the list itself
  static_bytes_ = 0;
  dynamic_bytes_ = dynamic_bytes;
  dynamic_.reset();
  if (dynamic_bytes > 0) dynamic_ = make(dynamic_bytes, dynamic_alignment);
}

void SharedMemory::end_grid() { of_ended_blocks_.clear(); }

bool SharedMemory::variable(SharedSlot& slot, size_t bytes, size_t align) {
  if (slot.epoch == shared_epoch) return true;
  static_bytes_ += bytes;
  if (static_bytes_ > static_limit || static_bytes_ + dynamic_bytes_ > limit) return false;
  const UnseenWrites unseen;
  static_.push_back(make(bytes, std::max<size_t>(align, 16)));
  slot = {shared_epoch, static_.back().get()};
  return true;
}

}  // namespace hashgrad::emulator
