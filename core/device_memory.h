// What an engine has to offer so that tensors can live on its device. core/ knows no engine but the CPU; the
// others register themselves here.
#pragma once

#include <cstddef>
#include <string>

#include "core/device.h"
#include "core/dtype.h"
#include "core/shape.h"
#include "core/storage.h"

namespace hashgrad {

/// Where the elements of a tensor lie: `data` is the address of element [0,0,...] in the device's memory.
struct Layout {
  std::byte* data;
  DType dtype;
  Shape strides;  // in elements
};

/// The memory of one device. All sizes are in bytes.
class DeviceMemory {
 public:
  virtual ~DeviceMemory() = default;
  /// Empty when the device can be used, else the reason why not.
  virtual std::string obstacle() = 0;
  /// Content undefined, or NaNs while poison_new_memory is on. Too little memory is an Error.
  virtual std::byte* allocate(size_t bytes) = 0;
  virtual void release(std::byte* block, size_t bytes) noexcept = 0;
  virtual MemoryCount count() = 0;
  virtual void reset_peak() = 0;

  virtual void from_host(std::byte* to, const std::byte* from, size_t bytes) = 0;
  /// Waits for all work that writes `from`.
  virtual void to_host(std::byte* to, const std::byte* from, size_t bytes) = 0;
  /// Every element of a tensor of this shape, converted, between two layouts on this device.
  virtual void copy(const Shape& shape, const Layout& to, const Layout& from) = 0;
  virtual void fill(const Shape& shape, const Layout& to, double value) = 0;
  /// Waits for all work issued to the device; the CPU's is done when its calls return.
  virtual void synchronize() = 0;
};

/// Engines register their memory when the program starts; it must live as long as the program.
void register_memory(Device::Kind kind, DeviceMemory& memory);
/// An Error when the device is not in this build.
DeviceMemory& memory_of(Device device);

/// Empty when the device can be used, else "not in this build" or what is wrong with it.
std::string why_unavailable(Device device);
inline bool is_available(Device device) { return why_unavailable(device).empty(); }

}  // namespace hashgrad
