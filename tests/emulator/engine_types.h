// Test cases that run on every engine: TEST_CASE_TEMPLATE("...", Engine, HASHGRAD_ENGINE_TYPES).
#pragma once

#include <cstddef>
#include <doctest/doctest.h>
#include <string>
#include <vector>

#include "cuda/runtime.h"
#include "tests/emulator/kernels.h"
#include "tests/skipped.h"

namespace hashgrad::testing {

// A namespace cannot be a template argument; these types stand for them.
#define HASHGRAD_ENGINE_TYPE(Name, engine)                                    \
  struct Name {                                                               \
    static constexpr const char* name = #engine;                              \
    using Stream = hashgrad::engine::Stream;                                  \
    using StreamScope = hashgrad::engine::StreamScope;                        \
    using Event = hashgrad::engine::Event;                                    \
    using Graph = hashgrad::engine::Graph;                                    \
    using Failure = hashgrad::engine::testing::Failure;                       \
    static constexpr auto available = &hashgrad::engine::available;           \
    static constexpr auto obstacle = &hashgrad::engine::obstacle;             \
    static constexpr auto properties = &hashgrad::engine::properties;         \
    static constexpr auto allocate = &hashgrad::engine::allocate;             \
    static constexpr auto release = &hashgrad::engine::release;               \
    static constexpr auto memory_count = &hashgrad::engine::memory_count;     \
    static constexpr auto reset_peak = &hashgrad::engine::reset_peak_memory;  \
    static constexpr auto set_limit = &hashgrad::engine::set_memory_limit;    \
    static constexpr auto drop_cache = &hashgrad::engine::drop_cache;         \
    static constexpr auto copy_to_device = &hashgrad::engine::copy_to_device; \
    static constexpr auto copy_to_host = &hashgrad::engine::copy_to_host;     \
    static constexpr auto copy_within = &hashgrad::engine::copy_within;       \
    static constexpr auto set_bytes = &hashgrad::engine::set_bytes;           \
    static constexpr auto synchronize = &hashgrad::engine::synchronize;       \
    HASHGRAD_ENGINE_KERNELS(engine)                                           \
  }

#define HASHGRAD_ENGINE_KERNEL(engine, function) \
  static constexpr auto function = &hashgrad::engine::testing::function;
#define HASHGRAD_ENGINE_KERNELS(engine)                   \
  HASHGRAD_ENGINE_KERNEL(engine, reverse_runs)            \
  HASHGRAD_ENGINE_KERNEL(engine, transpose)               \
  HASHGRAD_ENGINE_KERNEL(engine, shuffles)                \
  HASHGRAD_ENGINE_KERNEL(engine, votes)                   \
  HASHGRAD_ENGINE_KERNEL(engine, block_votes)             \
  HASHGRAD_ENGINE_KERNEL(engine, atomics)                 \
  HASHGRAD_ENGINE_KERNEL(engine, histogram)               \
  HASHGRAD_ENGINE_KERNEL(engine, sums)                    \
  HASHGRAD_ENGINE_KERNEL(engine, argmax)                  \
  HASHGRAD_ENGINE_KERNEL(engine, sum_at_once)             \
  HASHGRAD_ENGINE_KERNEL(engine, add_neighbours)          \
  HASHGRAD_ENGINE_KERNEL(engine, mma_bf16)                \
  HASHGRAD_ENGINE_KERNEL(engine, mma_tf32)                \
  HASHGRAD_ENGINE_KERNEL(engine, bits)                    \
  HASHGRAD_ENGINE_KERNEL(engine, add_one)                 \
  HASHGRAD_ENGINE_KERNEL(engine, many_barriers)           \
  HASHGRAD_ENGINE_KERNEL(engine, launch_too_many_threads) \
  HASHGRAD_ENGINE_KERNEL(engine, launch_too_much_shared)  \
  HASHGRAD_ENGINE_KERNEL(engine, launch_nothing)          \
  HASHGRAD_ENGINE_KERNEL(engine, big_shared)              \
  HASHGRAD_ENGINE_KERNEL(engine, fail_in_kernel)

HASHGRAD_IF_CUDA(HASHGRAD_ENGINE_TYPE(Cuda, cuda);)
HASHGRAD_IF_EMULATOR(HASHGRAD_ENGINE_TYPE(Emulator, emu);)

#if HASHGRAD_WITH_CUDA && HASHGRAD_WITH_EMULATOR
#define HASHGRAD_ENGINE_TYPES Emulator, Cuda
#elif HASHGRAD_WITH_CUDA
#define HASHGRAD_ENGINE_TYPES Cuda
#elif HASHGRAD_WITH_EMULATOR
#define HASHGRAD_ENGINE_TYPES Emulator
#endif

/// In a test case: goes on only where this engine can be used.
#define HASHGRAD_NEED(Engine)                        \
  if (!Engine::available()) {                        \
    count_skipped(Engine::name, Engine::obstacle()); \
    return;                                          \
  }

/// n elements in the memory of an engine.
template <class Engine, class T>
class Buffer {
 public:
  explicit Buffer(size_t n) : size_(n), data_(static_cast<T*>(Engine::allocate(bytes()))) {}
  explicit Buffer(const std::vector<T>& values) : Buffer(values.size()) {
    Engine::copy_to_device(data_, values.data(), bytes());
  }
  ~Buffer() { Engine::release(data_, bytes()); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  static std::vector<T> zeros(size_t n) { return std::vector<T>(n); }
  T* data() const { return data_; }
  std::vector<T> get() const {
    std::vector<T> values(size_);
    Engine::copy_to_host(values.data(), data_, bytes());
    return values;
  }

 private:
  size_t bytes() const { return size_ * sizeof(T); }
  size_t size_;
  T* data_;
};

}  // namespace hashgrad::testing
