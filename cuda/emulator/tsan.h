// What orders the threads of a kernel, said to ThreadSanitizer. In other builds these functions are empty.
#pragma once

#include "cuda/emulator/sanitizers.h"

#if EMU_TSAN
#include <sanitizer/tsan_interface.h>
extern "C" void AnnotateIgnoreWritesBegin(const char* file, int line);
extern "C" void AnnotateIgnoreWritesEnd(const char* file, int line);
#endif

namespace hashgrad::emulator {

inline constexpr bool under_tsan = EMU_TSAN != 0;

/// What this thread did so far happens before what any thread does after see(point).
inline void publish([[maybe_unused]] void* point) {
#if EMU_TSAN
  __tsan_release(point);
#endif
}
inline void see([[maybe_unused]] void* point) {
#if EMU_TSAN
  __tsan_acquire(point);
#endif
}

/// As long as it lives, allocating and filling memory is no access of the current thread.
class UnseenWrites {
 public:
#if EMU_TSAN
  UnseenWrites() { AnnotateIgnoreWritesBegin(__FILE__, __LINE__); }
  ~UnseenWrites() { AnnotateIgnoreWritesEnd(__FILE__, __LINE__); }
#else
  UnseenWrites() {}
  ~UnseenWrites() {}
#endif
  UnseenWrites(const UnseenWrites&) = delete;
  UnseenWrites& operator=(const UnseenWrites&) = delete;
};

}  // namespace hashgrad::emulator
