// Which sanitizer this build has. EMU_ASAN and EMU_TSAN are 0 or 1.
//
// Under ThreadSanitizer the kernels are instrumented and the emulator itself is not: its bookkeeping is
// shared by all fibres of an OS thread, which ThreadSanitizer takes for concurrent threads. The build
// therefore compiles cuda/emulator/*.cpp with -fno-sanitize=thread -DEMU_TSAN=1.
#pragma once

#if defined(__has_feature)
#define HASHGRAD_HAS_FEATURE(x) __has_feature(x)
#else
#define HASHGRAD_HAS_FEATURE(x) 0
#endif

#ifndef EMU_ASAN
#if defined(__SANITIZE_ADDRESS__) || HASHGRAD_HAS_FEATURE(address_sanitizer)
#define EMU_ASAN 1
#else
#define EMU_ASAN 0
#endif
#endif

#ifndef EMU_TSAN
#if defined(__SANITIZE_THREAD__) || HASHGRAD_HAS_FEATURE(thread_sanitizer)
#define EMU_TSAN 1
#else
#define EMU_TSAN 0
#endif
#endif
