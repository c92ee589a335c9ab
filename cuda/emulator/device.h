// The device side of CUDA C++ for other compilers. Kernels get it through cuda/gpu.h.
#pragma once

#include "cuda/emulator/atomics.h"
#include "cuda/emulator/hooks.h"
#include "cuda/emulator/intrinsics.h"
#include "cuda/emulator/runtime_api.h"
#include "cuda/emulator/types.h"
#include "cuda/emulator/warp.h"

#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
// __shared__ stays undefined, so that a kernel which goes round GPU_SHARED does not compile.

#define HASHGRAD_EMULATED_SHARED(type, name, ...)                            \
  using name##_shared = type __VA_ARGS__;                                    \
  static HASHGRAD_EMULATED_TLS ::hashgrad::emulator::SharedSlot name##_slot; \
  name##_shared& name = *static_cast<name##_shared*>(                        \
      ::hashgrad::emulator::shared_variable(name##_slot, sizeof(name##_shared), alignof(name##_shared)))
