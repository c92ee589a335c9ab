// Memory that a function of an engine needs for a while.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda/gpu.h"
#include "cuda/runtime.h"

namespace hashgrad::HASHGRAD_GPU {

/// `count` elements of device memory, content undefined, given back at the end of the scope. Kernels launched
/// before that on the current stream may still use them (see release in cuda/runtime.h).
template <class T>
class Scratch {
 public:
  explicit Scratch(int64_t count)
      : bytes_(static_cast<size_t>(count) * sizeof(T)),
        data_(count > 0 ? static_cast<T*>(allocate(bytes_)) : nullptr) {}
  ~Scratch() {
    if (data_) release(data_, bytes_);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  /// Null when count is 0.
  T* data() const { return data_; }

 private:
  size_t bytes_;
  T* data_;
};

}  // namespace hashgrad::HASHGRAD_GPU
