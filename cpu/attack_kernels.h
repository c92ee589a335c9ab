// The inside of an attack's step over pixels (cpu/kernels.h).
#pragma once

#include <cstdint>

#include "cpu/kernels.h"

namespace hashgrad::cpu {

template <class T>
struct AttackKernels {
  /// nearest_linf(stepped(x, scale, direction_of(gradient)), centre, eps) of cpu/attack_step_functions.h, for
  /// n elements, but for its loop: at most one step towards centre is made. Whether every element is in the
  /// ball.
  bool (*ascend_linf)(int64_t n, T scale, double eps, const T* x, const T* gradient, const T* centre, T* out);
  /// A step of Adam (beta 0.9 and 0.999) on n elements of w, of which x = (tanh(w) + 1) / 2 is the image:
  /// gradient is d loss / d x, m and v are the moments of d loss / d w. w -= rate * m / (sqrt(v) + eps); x
  /// becomes its image.
  void (*descend_tanh)(int64_t n, T rate, T eps, const T* gradient, T* w, T* m, T* v, T* x);
};

HASHGRAD_KERNEL_TABLE(PerType<AttackKernels>, attack_kernels)

}  // namespace hashgrad::cpu
