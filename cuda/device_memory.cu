// Tensors in the memory of this engine.
#include "core/device_memory.h"
#include "cuda/copy.h"
#include "cuda/device_memory.h"
#include "cuda/gpu.h"
#include "cuda/runtime.h"

namespace hashgrad::HASHGRAD_GPU {
namespace {

class EngineMemory final : public DeviceMemory {
 public:
  std::string obstacle() override { return HASHGRAD_GPU::obstacle(); }
  std::byte* allocate(size_t bytes) override {
    return static_cast<std::byte*>(HASHGRAD_GPU::allocate(bytes));
  }
  void release(std::byte* block, size_t bytes) noexcept override { HASHGRAD_GPU::release(block, bytes); }
  MemoryCount count() override { return memory_count(); }
  void reset_peak() override { reset_peak_memory(); }

  void from_host(std::byte* to, const std::byte* from, size_t bytes) override {
    copy_to_device(to, from, bytes);
  }
  void to_host(std::byte* to, const std::byte* from, size_t bytes) override { copy_to_host(to, from, bytes); }
  void copy(const Shape& shape, const Layout& to, const Layout& from) override {
    HASHGRAD_GPU::copy(shape, to, from);
  }
  void fill(const Shape& shape, const Layout& to, double value) override {
    HASHGRAD_GPU::fill(shape, to, value);
  }
  void synchronize() override { HASHGRAD_GPU::synchronize(); }
};

}  // namespace

bool register_engine_memory() {
  static EngineMemory& memory =
      *new EngineMemory;  // never destroyed: tensors in static objects may outlive main
  register_memory(HASHGRAD_EMULATED ? Device::Kind::emu : Device::Kind::cuda, memory);
  return true;
}

}  // namespace hashgrad::HASHGRAD_GPU
