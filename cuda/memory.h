// What streams and graphs say to the allocator (memory.cu).
#pragma once

#include <cstddef>

#include "cuda/gpu.h"

namespace hashgrad::HASHGRAD_GPU {

/// The blocks of one graph. Its recorded work goes on using their addresses, so none is handed out to others
/// before the graph ends; within the recording they are reused as usual.
struct GraphMemory;

/// What the calling thread allocates and releases from now on, until end_capture(), belongs to the graph
/// returned. Meanwhile no other thread gets past wait_for_device().
GraphMemory* begin_capture();
void end_capture() noexcept;
/// The graph will not run again; all its work is done.
void end_graph(GraphMemory* memory) noexcept;

/// Whether the calling thread is recording.
bool capturing();

/// cudaDeviceSynchronize(), once no other thread records: CUDA refuses it while any stream does, and drops
/// what was recorded. Of a thread that itself records that is what becomes: its capture then fails.
cudaError_t wait_for_device() noexcept;

/// Blocks that wait for reuse on this stream, whose work is done, are free to be used on any.
void forget_stream(void* stream) noexcept;

}  // namespace hashgrad::HASHGRAD_GPU
