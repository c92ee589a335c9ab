// What stands in for the memory of a device.
#pragma once

#include <cstddef>

namespace hashgrad::emulator {

/// Memory for cudaMalloc, aligned to 256, with undefined content; null when there is none. In strict mode
/// (Options::strict) the host can touch it only while an OpenMemory lives.
void* allocate_device(size_t bytes);
/// Null and foreign pointers are an Error.
void free_device(void* p);

/// Whether [p, p + bytes) lies in one block that is allocated.
bool is_device_memory(const void* p, size_t bytes);

/// Memory of the device is accessible as long as one of these lives, on any thread.
class OpenMemory {
 public:
  OpenMemory();
  ~OpenMemory();
  OpenMemory(const OpenMemory&) = delete;
  OpenMemory& operator=(const OpenMemory&) = delete;
};

}  // namespace hashgrad::emulator
