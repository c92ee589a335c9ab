// Operands of products in bf16 (core/math_mode.h) on the CPU: rounded where they are packed, multiplied as
// floats. It shows what the rounding does; it saves no time.
#pragma once

#include <type_traits>

#include "core/math_mode.h"

namespace hashgrad::cpu {

/// Whether the calling thread wants operands of T rounded. Asked once per product: the threads that share its
/// work have made no choice.
template <class T>
bool rounds_operands() {
  return std::is_same_v<T, float> && math_mode() == Math::bf16;
}

/// Rounds packed operands in place if `rounds`.
template <class T>
void round_operands(bool rounds, int64_t n, T* packed) {
  if constexpr (std::is_same_v<T, float>)
    for (int64_t i = 0; rounds && i < n; ++i) packed[i] = rounded_to_bf16(packed[i]);
}

}  // namespace hashgrad::cpu
