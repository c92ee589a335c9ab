// The engines beside the CPU, and the choice between all of them.
//
// The kernels in cuda/*.cu are compiled up to twice from the same sources: by nvcc into namespace cuda, and
// by the host compiler, on top of the emulator, into namespace emu. Both export the functions of cpu/ under
// the same names with the same arguments, on pointers into their own memory, so that an op is one line for
// all engines:
//
//   HASHGRAD_ON(x.device(), softmax(rows, columns, x.data<T>(), y.data<T>()));
#pragma once

#include "core/device.h"
#include "core/error.h"

// Set by CMake: HASHGRAD_WITH_CUDA when nvcc compiled the kernels, HASHGRAD_WITH_EMULATOR when the emulator
// is built in.
#if HASHGRAD_WITH_CUDA
#define HASHGRAD_IF_CUDA(...) __VA_ARGS__
#else
#define HASHGRAD_IF_CUDA(...)
#endif
#if HASHGRAD_WITH_EMULATOR
#define HASHGRAD_IF_EMULATOR(...) __VA_ARGS__
#else
#define HASHGRAD_IF_EMULATOR(...)
#endif

/// Declares everything inside once for each engine of this build. Headers of cuda/ are written with it.
#define HASHGRAD_ENGINES(...)                   \
  HASHGRAD_IF_CUDA(namespace cuda{__VA_ARGS__}) \
  HASHGRAD_IF_EMULATOR(namespace emu{__VA_ARGS__})

/// Calls a function of the engine that `device` names: cpu::f(...), cuda::f(...) or emu::f(...).
#define HASHGRAD_ON(device, ...)                                                                        \
  do {                                                                                                  \
    switch ((device).kind) {                                                                            \
      case ::hashgrad::Device::Kind::cpu:                                                               \
        ::hashgrad::cpu::__VA_ARGS__;                                                                   \
        break;                                                                                          \
        HASHGRAD_IF_CUDA(case ::hashgrad::Device::Kind::cuda : ::hashgrad::cuda::__VA_ARGS__; break;)   \
        HASHGRAD_IF_EMULATOR(case ::hashgrad::Device::Kind::emu : ::hashgrad::emu::__VA_ARGS__; break;) \
      default:                                                                                          \
        ::hashgrad::fail("device '{}' is not in this build", ::hashgrad::to_string(device));            \
    }                                                                                                   \
  } while (false)
