// Reference-counted bytes and the account of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "core/device.h"

namespace hashgrad {

/// Bytes that tensors hold now and held at most (since start or since the last reset_peak). Freed large
/// blocks are kept for reuse, so that a steady loop asks the system for nothing; they count as `cached`, not
/// as `live`.
struct MemoryCount {
  int64_t live = 0;
  int64_t peak = 0;
  int64_t cached = 0;
};
MemoryCount memory_count(Device device = {});
void reset_peak_memory(Device device = {});

/// While on, every new block is filled with 0xFF bytes (NaN in both float types), so that an element which a
/// kernel forgets to write cannot pass for a result. For tests. Returns the previous setting.
bool poison_new_memory(bool on);
bool poisons_new_memory();

/// A block of bytes in the memory of one device, aligned to at least 64, freed with its last owner. Content
/// is not initialised.
class Storage {
 public:
  Storage() = default;
  explicit Storage(size_t bytes, Device device = {});
  std::byte* data() const { return block_.get(); }
  /// Whether the block has another owner.
  bool shared() const { return block_.use_count() > 1; }

 private:
  std::shared_ptr<std::byte> block_;
};

}  // namespace hashgrad
