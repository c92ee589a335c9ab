// CUDA's atomics and fences on the host's. Types are those that CUDA accepts, so that a kernel which compiles
// here compiles there: uint64_t, for instance, is unsigned long, and CUDA wants unsigned long long.
#pragma once

#include <atomic>
#include <bit>
#include <concepts>
#include <cstdint>
#include <type_traits>

#include "cuda/emulator/sanitizers.h"

namespace hashgrad::emulator {

template <class T, class... Others>
concept OneOf = (std::same_as<T, Others> || ...);

/// *p = f(*p) in one step; returns what was there. Relaxed, as CUDA's atomics are.
template <class T, class F>
T update(T* p, const F& f) {
  using Bits = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;
  static_assert(sizeof(T) == sizeof(Bits));
  Bits* bits = reinterpret_cast<Bits*>(p);
  Bits old = __atomic_load_n(bits, __ATOMIC_RELAXED);
  while (!__atomic_compare_exchange_n(bits, &old, std::bit_cast<Bits>(f(std::bit_cast<T>(old))), true,
                                      __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return std::bit_cast<T>(old);
}

/// A fence. ThreadSanitizer does not know the host's; a step on one common variable orders as much.
inline void fence() {
#if EMU_TSAN
  static std::atomic<unsigned> common{0};
  common.fetch_add(1, std::memory_order_acq_rel);
#else
  std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
}

template <class T>
using Same = std::type_identity_t<T>;

}  // namespace hashgrad::emulator

namespace hashgrad::emu {

template <emulator::OneOf<int, unsigned, unsigned long long, float, double> T>
T atomicAdd(T* p, emulator::Same<T> v) {
  if constexpr (std::is_integral_v<T>)
    return __atomic_fetch_add(p, v, __ATOMIC_RELAXED);
  else
    return emulator::update(p, [v](T old) { return old + v; });
}
template <emulator::OneOf<int, unsigned> T>
T atomicSub(T* p, emulator::Same<T> v) {
  return __atomic_fetch_sub(p, v, __ATOMIC_RELAXED);
}
template <emulator::OneOf<int, unsigned, long long, unsigned long long> T>
T atomicMax(T* p, emulator::Same<T> v) {
  return emulator::update(p, [v](T old) { return old < v ? v : old; });
}
template <emulator::OneOf<int, unsigned, long long, unsigned long long> T>
T atomicMin(T* p, emulator::Same<T> v) {
  return emulator::update(p, [v](T old) { return v < old ? v : old; });
}
template <emulator::OneOf<int, unsigned, unsigned long long> T>
T atomicAnd(T* p, emulator::Same<T> v) {
  return __atomic_fetch_and(p, v, __ATOMIC_RELAXED);
}
template <emulator::OneOf<int, unsigned, unsigned long long> T>
T atomicOr(T* p, emulator::Same<T> v) {
  return __atomic_fetch_or(p, v, __ATOMIC_RELAXED);
}
template <emulator::OneOf<int, unsigned, unsigned long long> T>
T atomicXor(T* p, emulator::Same<T> v) {
  return __atomic_fetch_xor(p, v, __ATOMIC_RELAXED);
}
template <emulator::OneOf<int, unsigned, unsigned long long, float> T>
T atomicExch(T* p, emulator::Same<T> v) {
  return emulator::update(p, [v](T) { return v; });
}
template <emulator::OneOf<int, unsigned, unsigned long long> T>
T atomicCAS(T* p, emulator::Same<T> expected, emulator::Same<T> v) {
  __atomic_compare_exchange_n(p, &expected, v, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return expected;
}

inline void __threadfence() { emulator::fence(); }
inline void __threadfence_block() { emulator::fence(); }

}  // namespace hashgrad::emu
