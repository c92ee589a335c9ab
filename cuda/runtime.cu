// Devices, copies, streams and events (cuda/runtime.h).
#include <mutex>
#include <unordered_map>

#include "cuda/device_memory.h"
#include "cuda/gpu.h"
#include "cuda/memory.h"
#include "cuda/runtime.h"
#include "cuda/status.h"

namespace hashgrad::HASHGRAD_GPU {
namespace {

// Here, because a program with any kernel in it has this file in it: launch() asks for the current stream. A
// linker that takes from a library only what is asked for would leave out a file with nothing but this line.
[[maybe_unused]] const bool registered = register_engine_memory();

thread_local void* current = nullptr;

Properties query() {
  Properties result;
  cudaDeviceProp device;
  must(cudaGetDeviceProperties(&device, 0), "properties");
  must(cudaDeviceGetAttribute(&result.clock_khz, cudaDevAttrClockRate, 0), "properties");
  result.name = device.name;
  result.major = device.major;
  result.minor = device.minor;
  result.multiprocessors = device.multiProcessorCount;
  result.memory = static_cast<int64_t>(device.totalGlobalMem);
  result.shared_per_block = static_cast<int64_t>(device.sharedMemPerBlockOptin);
  return result;
}

#if !HASHGRAD_EMULATED
__global__ void probe_kernel() {}
#endif

struct Parcel {
  unsigned char bytes[carried_bytes];
};

/// One block: writes what came with the launch to memory.
__global__ void unpack_kernel(Parcel parcel, unsigned bytes, unsigned char* to) {
  for (unsigned i = threadIdx.x; i < bytes; i += blockDim.x) to[i] = parcel.bytes[i];
}

/// Why no kernel of this program can run here; empty when they can.
std::string find_obstacle() {
  int driver = 0, count = 0;  // without a driver the calls leave them alone
  static_cast<void>(cudaDriverGetVersion(&driver));
  cudaError_t status = cudaGetDeviceCount(&count);
  static_cast<void>(cudaGetLastError());
  if (driver == 0) return "there is no CUDA driver";
  if (status != cudaSuccess) return cudaGetErrorString(status);
  if (count == 0) return "there is no device";
  status = cudaFree(nullptr);  // makes the context, which fails on a device that is taken or full
  static_cast<void>(cudaGetLastError());
  if (status != cudaSuccess) return fmt::format("the device does not start: {}", cudaGetErrorString(status));
#if !HASHGRAD_EMULATED
  cudaFuncAttributes attributes;
  status = cudaFuncGetAttributes(&attributes, probe_kernel);
  static_cast<void>(cudaGetLastError());
  if (status != cudaSuccess)
    return fmt::format("no kernel of this build fits {}: {}", query().name, cudaGetErrorString(status));
#endif
  return "";
}

void refuse_in_capture(const char* what) {
  check(!capturing(), "{}: {} cannot be part of a graph", engine_name, what);
}

}  // namespace

#if !HASHGRAD_EMULATED
cudaError_t allow_shared(const void* kernel, size_t bytes) {
  static std::mutex mutex;
  static auto& allowed = *new std::unordered_map<const void*, size_t>;  // never destroyed
  const std::lock_guard lock(mutex);
  size_t& limit = allowed[kernel];
  if (bytes <= limit) return cudaSuccess;
  const cudaError_t status =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
  if (status == cudaSuccess) limit = bytes;
  return status;
}
#endif

bool available() { return obstacle().empty(); }

const std::string& obstacle() {
  static const std::string reason = find_obstacle();
  return reason;
}

const Properties& properties() {
  static const Properties device = query();
  return device;
}

void copy_to_device(void* to, const void* from, size_t bytes) {
  if (bytes == 0) return;
  refuse_in_capture("copy_to_device");
  if (bytes <= carried_bytes) {
    Parcel parcel{};
    std::memcpy(parcel.bytes, from, bytes);
    return launch(unpack_kernel, 1, 256, 0, parcel, static_cast<unsigned>(bytes),
                  static_cast<unsigned char*>(to));
  }
  must(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream()), "copy_to_device");
  // CUDA may read memory that is not pinned after the call returns; that drivers have copied it aside by then
  // is their habit, not a promise.
  must(cudaStreamSynchronize(stream()), "copy_to_device");
}

void copy_to_host(void* to, const void* from, size_t bytes) {
  if (bytes == 0) return;
  refuse_in_capture("copy_to_host");
  must(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream()), "copy_to_host");
  must(cudaStreamSynchronize(stream()), "copy_to_host");
}

void copy_within(void* to, const void* from, size_t bytes) {
  if (bytes == 0) return;
  must(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream()), "copy_within");
}

void set_bytes(void* to, int byte, size_t bytes) {
  if (bytes == 0) return;
  must(cudaMemsetAsync(to, byte, bytes, stream()), "set_bytes");
}

void synchronize() {
  refuse_in_capture("synchronize");
  must(wait_for_device(), "synchronize");
}

// Streams do not wait for the default stream, nor it for them, unless told to.
Stream::Stream() {
  cudaStream_t made = nullptr;
  must(cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking), "Stream");
  handle_ = made;
}

Stream::~Stream() {
  static_cast<void>(cudaStreamSynchronize(static_cast<cudaStream_t>(handle_)));
  forget_stream(handle_);
  static_cast<void>(cudaStreamDestroy(static_cast<cudaStream_t>(handle_)));
}

void Stream::synchronize() {
  must(cudaStreamSynchronize(static_cast<cudaStream_t>(handle_)), "Stream::synchronize");
}

void Stream::wait(const Event& event) {
  must(cudaStreamWaitEvent(static_cast<cudaStream_t>(handle_), static_cast<cudaEvent_t>(event.handle()), 0),
       "Stream::wait");
}

void* current_stream() { return current; }

StreamScope::StreamScope(const Stream& stream) : before_(current) { current = stream.handle(); }
StreamScope::~StreamScope() { current = before_; }

Event::Event() {
  cudaEvent_t made = nullptr;
  must(cudaEventCreateWithFlags(&made, 0), "Event");
  handle_ = made;
}

Event::~Event() { static_cast<void>(cudaEventDestroy(static_cast<cudaEvent_t>(handle_))); }

void Event::record() { must(cudaEventRecord(static_cast<cudaEvent_t>(handle_), stream()), "Event::record"); }

double Event::elapsed_ms(const Event& start) const {
  float milliseconds = 0;
  must(cudaEventSynchronize(static_cast<cudaEvent_t>(handle_)), "Event::elapsed_ms");
  must(cudaEventElapsedTime(&milliseconds, static_cast<cudaEvent_t>(start.handle()),
                            static_cast<cudaEvent_t>(handle_)),
       "Event::elapsed_ms");
  return static_cast<double>(milliseconds);
}

}  // namespace hashgrad::HASHGRAD_GPU
