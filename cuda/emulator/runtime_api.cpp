#include "cuda/emulator/runtime_api.h"

#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <unistd.h>
#include <utility>
#include <vector>

#include "core/error.h"
#include "cuda/emulator/device_blocks.h"
#include "cuda/emulator/grid.h"
#include "cuda/emulator/hooks.h"
#include "cuda/emulator/shared_memory.h"

namespace hashgrad::emulator {

using Work = std::function<void()>;

struct Graph {
  std::vector<Work> work;
};

struct Stream {
  std::unique_ptr<Graph> recording;  // while it captures
  int64_t refusals = 0;              // when it began
};

struct Event {
  std::chrono::steady_clock::time_point time;
  bool recorded = false;
};

namespace {

bool captures(const Stream* stream) { return stream && stream->recording; }

std::atomic<int64_t> all_waits{0};
std::atomic<int> recordings{0};    // streams that capture
std::atomic<int64_t> refusals{0};  // waits for the device meanwhile, each of which ends all their captures

/// Copies from the host that this thread has started: done as late as CUDA may, when the next call needs
/// them.
thread_local std::vector<Work> late_copies;
void finish_copies() {
  for (const Work& copy : std::exchange(late_copies, {})) copy();
}

/// Does the work now, or keeps it for the graph that `stream` is capturing.
void submit(Stream* stream, Work work) {
  finish_copies();
  if (captures(stream))
    stream->recording->work.push_back(std::move(work));
  else
    work();
}

}  // namespace

int64_t waits() { return all_waits; }

void launch(void* stream, const LaunchShape& shape, std::function<void()> thread) {
  check_shape(shape);
  submit(static_cast<Stream*>(stream), [shape, thread = std::move(thread)] { run_grid(shape, thread); });
}

}  // namespace hashgrad::emulator

namespace hashgrad::emu {

using emulator::captures, emulator::finish_copies, emulator::is_device_memory, emulator::submit;

const char* cudaGetErrorString(cudaError_t status) {
  switch (status) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidResourceHandle:
      return "invalid resource handle";
    case cudaErrorStreamCaptureInvalidated:
      return "operation failed due to a previous error during capture";
    case cudaErrorStreamCaptureUnsupported:
      break;
  }
  return "operation not permitted when stream is capturing";
}

// The device.

cudaError_t cudaDriverGetVersion(int* version) {
  *version = 1;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  *properties = {};
  std::strcpy(properties->name, "emulator");
  size_t free = 0;
  cudaMemGetInfo(&free, &properties->totalGlobalMem);
  properties->sharedMemPerBlockOptin = emulator::SharedMemory::limit;
  properties->major = 8;
  properties->multiProcessorCount = 1;  // grids are as wide as it asks for: the same ones on every machine
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) {
  *value = 0;
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
  if (emulator::recordings > 0) {
    ++emulator::refusals;
    return cudaErrorStreamCaptureUnsupported;
  }
  ++emulator::all_waits;
  finish_copies();
  return cudaSuccess;
}

// Memory.

cudaError_t cudaMalloc(void** p, size_t bytes) {
  size_t free = 0, total = 0;
  cudaMemGetInfo(&free, &total);
  *p = bytes <= total ? emulator::allocate_device(bytes) : nullptr;
  return *p ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaFree(void* p) {
  finish_copies();
  if (p) emulator::free_device(p);
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  *free = static_cast<size_t>(sysconf(_SC_AVPHYS_PAGES)) * page;
  *total = static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * page;
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  const bool to_device = kind != cudaMemcpyDeviceToHost, from_device = kind != cudaMemcpyHostToDevice;
  if (is_device_memory(to, bytes) != to_device || is_device_memory(from, bytes) != from_device)
    return cudaErrorInvalidValue;
  const auto copy = [=] {
    const emulator::OpenMemory open;
    std::memmove(to, from, bytes);
  };
  if (from_device || captures(stream))
    submit(stream, copy);
  else
    emulator::late_copies.push_back(copy);
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* to, int byte, size_t bytes, cudaStream_t stream) {
  if (!is_device_memory(to, bytes)) return cudaErrorInvalidValue;
  submit(stream, [=] {
    const emulator::OpenMemory open;
    std::memset(to, byte, bytes);
  });
  return cudaSuccess;
}

// Streams and events.

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new emulator::Stream;
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (captures(stream)) return cudaErrorStreamCaptureUnsupported;
  ++emulator::all_waits;
  finish_copies();
  return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t event, unsigned) {
  return event ? cudaSuccess : cudaErrorInvalidResourceHandle;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new emulator::Event;
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
  finish_copies();
  event->time = std::chrono::steady_clock::now();
  event->recorded = true;
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t) {
  finish_copies();
  return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  if (!start->recorded || !end->recorded) return cudaErrorInvalidResourceHandle;
  *milliseconds = std::chrono::duration<float, std::milli>(end->time - start->time).count();
  return cudaSuccess;
}

// Graphs: lists of work.

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (!stream || captures(stream)) return cudaErrorStreamCaptureUnsupported;
  stream->recording = std::make_unique<emulator::Graph>();
  ++emulator::recordings;
  stream->refusals = emulator::refusals;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  if (!captures(stream)) return cudaErrorInvalidValue;
  --emulator::recordings;
  std::unique_ptr<emulator::Graph> recorded = std::move(stream->recording);
  if (stream->refusals != emulator::refusals) return cudaErrorStreamCaptureInvalidated;
  *graph = recorded.release();
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  *executable = new emulator::Graph(*graph);
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  if (captures(stream)) return cudaErrorStreamCaptureUnsupported;
  finish_copies();
  for (const emulator::Work& work : executable->work) work();
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) { return cudaGraphDestroy(executable); }

}  // namespace hashgrad::emu
