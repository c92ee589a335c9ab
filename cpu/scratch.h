// Working memory for the drivers: aligned, uninitialised, kept by each thread and used again, because a fresh
// allocation of this size costs a page fault per 4 KB.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hashgrad::cpu {

/// Room for `count` elements of T until the end of the scope, aligned to 64 bytes, contents undefined. Leases
/// nest.
template <class T>
class Scratch {
 public:
  explicit Scratch(int64_t count);
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  T* data() const { return static_cast<T*>(block_); }

 private:
  void* block_;
  size_t bytes_;
};

}  // namespace hashgrad::cpu
