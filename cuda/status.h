// Results of CUDA's runtime calls as Errors. For the .cu files that call it.
#pragma once

#include "core/error.h"
#include "cuda/gpu.h"

namespace hashgrad::HASHGRAD_GPU {

inline constexpr const char* engine_name = HASHGRAD_EMULATED ? "emu" : "cuda";

/// Throws Error unless the call succeeded. A kernel that failed while running makes later calls fail too,
/// whatever they are; `what` names the one that noticed.
inline void must(cudaError_t status, const char* what) {
  if (status == cudaSuccess) [[likely]]
    return;
  static_cast<void>(cudaGetLastError());  // a state that only this call had must not fail the next one
  fail("{}: {}: {}", engine_name, what, cudaGetErrorString(status));
}

inline cudaStream_t stream() { return static_cast<cudaStream_t>(current_stream()); }

}  // namespace hashgrad::HASHGRAD_GPU
