#include "cuda/emulator/context.h"

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/error.h"
#include "cuda/emulator/sanitizers.h"

#if EMU_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if EMU_TSAN
#include <sanitizer/tsan_interface.h>
#endif

namespace hashgrad::emulator {
namespace {

size_t guard_bytes() {
  static const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return page;
}

}  // namespace

Stack::Stack(size_t bytes) : bytes_(bytes) {
  void* base = mmap(nullptr, bytes + guard_bytes(), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  check(base != MAP_FAILED && mprotect(base, guard_bytes(), PROT_NONE) == 0,
        "emu: no memory for a thread's stack: {}", std::strerror(errno));
  bottom_ = static_cast<char*>(base) + guard_bytes();
}

Stack::~Stack() {
#if EMU_ASAN
  __asan_unpoison_memory_region(bottom_, bytes_);  // frames that were left standing
#endif
  munmap(static_cast<char*>(bottom_) - guard_bytes(), bytes_ + guard_bytes());
}

#if EMU_UCONTEXT

void Context::prepare(const Stack& stack, size_t unused, Entry entry) {
  getcontext(&saved_);
  saved_.uc_stack.ss_sp = stack.bottom();
  saved_.uc_stack.ss_size = stack.bytes() - unused;
  saved_.uc_link = nullptr;
  makecontext(&saved_, entry, 0);
#else

// void hashgrad_emulator_switch(void** save, void* load)
//
// System V x86-64: the six callee-saved registers and the stack pointer are all of a context. It returns with
// `ret`, as a switch by `jmp` would unbalance the processor's return predictor and cost more than twice as
// much per switch.
extern "C" void hashgrad_emulator_switch(void** save, void* load);
asm(R"(
  .text
  .p2align 4
  .globl hashgrad_emulator_switch
  .hidden hashgrad_emulator_switch
  .type hashgrad_emulator_switch, @function
hashgrad_emulator_switch:
  .cfi_startproc
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .cfi_endproc
  .size hashgrad_emulator_switch, .-hashgrad_emulator_switch
)");

void Context::prepare(const Stack& stack, size_t unused, Entry entry) {
  constexpr int saved_registers = 6;
  const auto bottom = reinterpret_cast<uintptr_t>(stack.bottom());
  auto* top = reinterpret_cast<void**>((bottom + stack.bytes() - unused) & ~uintptr_t{15});
  *--top = nullptr;  // the return address of entry: here the chain of calls ends
  *--top = reinterpret_cast<void*>(entry);
  for (int i = 0; i < saved_registers; ++i) *--top = nullptr;
  stack_pointer_ = top;
#endif
  bottom_ = stack.bottom();
  bytes_ = stack.bytes();
#if EMU_TSAN
  tsan_fibre_ = __tsan_create_fiber(0);
  owns_tsan_fibre_ = true;
#endif
}

Context::~Context() {
#if EMU_TSAN
  if (owns_tsan_fibre_) __tsan_destroy_fiber(tsan_fibre_);
#endif
}

void Context::adopt_thread() {
#if EMU_ASAN
  pthread_attr_t attributes;
  void* base = nullptr;
  pthread_getattr_np(pthread_self(), &attributes);
  pthread_attr_getstack(&attributes, &base, &bytes_);
  pthread_attr_destroy(&attributes);
  bottom_ = base;
#endif
#if EMU_TSAN
  tsan_fibre_ = __tsan_get_current_fiber();
#endif
}

void Context::started() {
#if EMU_ASAN
  __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
}

void Context::switch_to(Context& to, [[maybe_unused]] bool for_good) {
#if EMU_ASAN
  __sanitizer_start_switch_fiber(for_good ? nullptr : &fake_stack_, to.bottom_, to.bytes_);
#endif
#if EMU_TSAN
  // A switch orders nothing: that a barrier is missing must show although threads take turns.
  __tsan_switch_to_fiber(to.tsan_fibre_, __tsan_switch_to_fiber_no_sync);
#endif
#if EMU_UCONTEXT
  swapcontext(&saved_, &to.saved_);
#else
  hashgrad_emulator_switch(&stack_pointer_, to.stack_pointer_);
#endif
#if EMU_ASAN
  __sanitizer_finish_switch_fiber(fake_stack_, nullptr, nullptr);
#endif
}

}  // namespace hashgrad::emulator
