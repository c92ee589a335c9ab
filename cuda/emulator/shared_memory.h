// The shared memory of the block that an OS thread is running.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cuda/emulator/hooks.h"

namespace hashgrad::emulator {

/// Every variable is memory of its own, new for every block and all ones (NaNs) at first: AddressSanitizer
/// sees where it ends, and what a kernel reads before it is written shows.
class SharedMemory {
 public:
  /// What a launch of ours may ask for, and what static variables may take: those of capability 8.0.
  static constexpr size_t limit = size_t{163} << 10;
  static constexpr size_t static_limit = size_t{48} << 10;
  static constexpr size_t dynamic_alignment = 128;

  void begin_block(size_t dynamic_bytes);
  void end_grid();
  unsigned char* dynamic() const { return dynamic_.get(); }
  /// The variable of `slot`, made at its first use in the block. Empty, and `slot` unchanged, when it does
  /// not fit.
  [[nodiscard]] bool variable(SharedSlot& slot, size_t bytes, size_t align);

 private:
  struct Free {
    size_t align;
    void operator()(unsigned char* p) const;
  };
  using Memory = std::unique_ptr<unsigned char, Free>;
  static Memory make(size_t bytes, size_t align);

  Memory dynamic_{nullptr, Free{dynamic_alignment}};
  std::vector<Memory> static_;
  size_t static_bytes_ = 0, dynamic_bytes_ = 0;
  std::vector<Memory> of_ended_blocks_;  // ThreadSanitizer: to free memory is an access to it
};

}  // namespace hashgrad::emulator
