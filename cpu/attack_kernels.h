// The inside of an attack's step over pixels (cpu/kernels.h).
#pragma once

#include <cstdint>

#include "cpu/kernels.h"

namespace hashgrad::cpu {

template <class T>
struct AttackKernels {
  /// nearest_linf(stepped(x, scale, direction_of(gradient)), centre, eps) of cpu/attack_step_functions.h, for
  /// n elements. Its loop is at most one step here: centre is in [0,1].
  void (*ascend_linf)(int64_t n, T scale, double eps, const T* x, const T* gradient, const T* centre, T* out);
  /// descend_tanh of cpu/attack_step.h.
  void (*descend_tanh)(int64_t n, T rate, T eps, const T* gradient, T* w, T* m, T* v, T* x);
};

HASHGRAD_KERNEL_TABLE(PerType<AttackKernels>, attack_kernels)

}  // namespace hashgrad::cpu
