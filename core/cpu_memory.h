// The CPU as a device: a pool of aligned blocks (storage.cpp), copies and fills (cpu_memory.cpp).
#pragma once

#include "core/device_memory.h"

namespace hashgrad {

class CpuMemory final : public DeviceMemory {
 public:
  std::string obstacle() override { return {}; }
  std::byte* allocate(size_t bytes) override;
  void release(std::byte* block, size_t bytes) noexcept override;
  MemoryCount count() override;
  void reset_peak() override;
  void from_host(std::byte* to, const std::byte* from, size_t bytes) override;
  void to_host(std::byte* to, const std::byte* from, size_t bytes) override;
  void copy(const Shape& shape, const Layout& to, const Layout& from) override;
  void fill(const Shape& shape, const Layout& to, double value) override;
  void synchronize() override {}
};

}  // namespace hashgrad
