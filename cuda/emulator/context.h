// Fibres at their lowest: a stack, a saved place to go on from, and the switch between two of them.
#pragma once

#include <cstddef>

// Defined to 1, ucontext does the switch, at a tenth of the speed (each switch is two system calls).
#ifndef EMU_UCONTEXT
#if defined(__x86_64__)
#define EMU_UCONTEXT 0
#else
#define EMU_UCONTEXT 1
#endif
#endif

#if EMU_UCONTEXT
#include <ucontext.h>
#endif

namespace hashgrad::emulator {

/// Memory for the frames of one fibre. Running off its end faults, on the page below.
class Stack {
 public:
  explicit Stack(size_t bytes);
  ~Stack();
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;

  void* bottom() const { return bottom_; }
  size_t bytes() const { return bytes_; }

 private:
  void* bottom_;
  size_t bytes_;
};

/// One flow of control: of a fibre, or of the OS thread itself.
class Context {
 public:
  using Entry = void (*)();

  Context() = default;
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  /// Makes this the calling OS thread's own flow.
  void adopt_thread();
  /// Makes this a flow that begins in entry(), which never returns and calls started() first. The top
  /// `unused` bytes of the stack stay free.
  void prepare(const Stack& stack, size_t unused, Entry entry);
  static void started();

  /// Goes on at `to`; returns when something switches back to this context. `for_good`: nothing will.
  void switch_to(Context& to, bool for_good = false);

 private:
#if EMU_UCONTEXT
  ucontext_t saved_;
#else
  void* stack_pointer_ = nullptr;
#endif
  // For the sanitizers: the stack, AddressSanitizer's fake stack meanwhile, ThreadSanitizer's idea of a
  // fibre.
  const void* bottom_ = nullptr;
  size_t bytes_ = 0;
  void* fake_stack_ = nullptr;
  void* tsan_fibre_ = nullptr;
  bool owns_tsan_fibre_ = false;
};

}  // namespace hashgrad::emulator
