// Forward, a thread owns an output and walks its window; backward, a thread owns an input pixel and walks the
// windows that hold it, so that nothing is added by two threads. Neighbouring threads own neighbours of a
// row.
#include <algorithm>

#include "cuda/divisor.h"
#include "cuda/gpu.h"
#include "cuda/pool2d.h"
#include "cuda/team.h"

namespace hashgrad::HASHGRAD_GPU {
namespace {

struct Range {
  int64_t begin, end;
};

/// Planes of inputs and of outputs, and which of them meet.
struct Pooling {
  int64_t kernel, stride, padding, height, width, out_height, out_width;
  LongDivisor plane, row, out_plane, out_row;

  explicit Pooling(const cpu::Pool2dShape& s)
      : kernel(s.kernel),
        stride(s.stride),
        padding(s.padding),
        height(s.height),
        width(s.width),
        out_height(s.out_height()),
        out_width(s.out_width()),
        plane(height * width),
        row(width),
        out_plane(out_height * out_width),
        out_row(out_width) {}

  /// Inputs of the window of an output, and outputs whose windows hold an input, along one axis.
  __device__ Range inputs(int64_t output, int64_t extent) const {
    const int64_t first = output * stride - padding, end = first + kernel;
    return {first > 0 ? first : 0, end < extent ? end : extent};
  }
  __device__ Range outputs(int64_t input, int64_t extent) const {
    const int64_t reach = input + padding - kernel, last = (input + padding) / stride;
    return {reach >= 0 ? reach / stride + 1 : 0, last + 1 < extent ? last + 1 : extent};
  }
};

struct Spot {
  int64_t plane, y, x;
};
__device__ __forceinline__ Spot locate(int64_t i, const LongDivisor& planes, const LongDivisor& rows) {
  const int64_t plane = planes.quotient(i), rest = planes.remainder(i, plane), y = rows.quotient(rest);
  return {plane, y, rows.remainder(rest, y)};
}

/// A thread per output: the first maximum of its window [kernel, kernel]; a NaN wins.
template <class T>
__global__ void max_forward_kernel(int64_t outputs, Pooling p, const T* x, T* y, int32_t* argmax) {
  for (int64_t i = grid_rank(); i < outputs; i += grid_threads()) {
    const Spot at = locate(i, p.out_plane, p.out_row);
    const Range rows = p.inputs(at.y, p.height), columns = p.inputs(at.x, p.width);
    const T* plane = x + at.plane * p.height * p.width;
    int64_t place = rows.begin * p.width + columns.begin;
    T best = plane[place];
    for (int64_t r = rows.begin; r < rows.end; ++r)
      for (int64_t c = columns.begin; c < columns.end; ++c) {
        const T value = plane[r * p.width + c];
        if (value > best || value != value) {
          best = value;
          place = r * p.width + c;
        }
      }
    y[i] = best;
    if (argmax) argmax[i] = static_cast<int32_t>(place);
  }
}

/// A thread per pixel of dx: adds dy of the windows that chose it, in their order. argmax is that of the
/// first `planes` planes; the others repeat it.
template <class T>
__global__ void max_backward_kernel(int64_t inputs, LongDivisor planes, Pooling p, const T* dy,
                                    const int32_t* argmax, T* dx) {
  for (int64_t i = grid_rank(); i < inputs; i += grid_threads()) {
    const Spot at = locate(i, p.plane, p.row);
    const Range rows = p.outputs(at.y, p.out_height), columns = p.outputs(at.x, p.out_width);
    const int64_t chosen = planes.remainder(at.plane, planes.quotient(at.plane));
    const int32_t self = static_cast<int32_t>(at.y * p.width + at.x);
    T sum{0};
    for (int64_t r = rows.begin; r < rows.end; ++r)
      for (int64_t c = columns.begin; c < columns.end; ++c)
        if (argmax[(chosen * p.out_height + r) * p.out_width + c] == self)
          sum += dy[(at.plane * p.out_height + r) * p.out_width + c];
    dx[i] = sum;
  }
}

/// A thread per output: the sum of its window, row by row, times `share`.
template <class T>
__global__ void avg_forward_kernel(int64_t outputs, Pooling p, T share, const T* x, T* y) {
  for (int64_t i = grid_rank(); i < outputs; i += grid_threads()) {
    const Spot at = locate(i, p.out_plane, p.out_row);
    const Range rows = p.inputs(at.y, p.height), columns = p.inputs(at.x, p.width);
    const T* plane = x + at.plane * p.height * p.width;
    T sum{0};
    for (int64_t r = rows.begin; r < rows.end; ++r)
      for (int64_t c = columns.begin; c < columns.end; ++c) sum += plane[r * p.width + c];
    y[i] = sum * share;
  }
}

/// A thread per pixel of dx: its share of every window that holds it.
template <class T>
__global__ void avg_backward_kernel(int64_t inputs, Pooling p, T share, const T* dy, T* dx) {
  for (int64_t i = grid_rank(); i < inputs; i += grid_threads()) {
    const Spot at = locate(i, p.plane, p.row);
    const Range rows = p.outputs(at.y, p.out_height), columns = p.outputs(at.x, p.out_width);
    T sum{0};
    for (int64_t r = rows.begin; r < rows.end; ++r)
      for (int64_t c = columns.begin; c < columns.end; ++c) {
        const T part = dy[(at.plane * p.out_height + r) * p.out_width + c] * share;
        sum += part;
      }
    dx[i] = sum;
  }
}

/// A warp per plane: lanes add every 32nd pixel, then each other's sums.
template <class T>
__global__ void global_forward_kernel(int64_t planes, int64_t pixels, const T* x, T* y) {
  for (int64_t plane = Warp::first_row(); plane < planes; plane += Warp::row_stride()) {
    double sum = 0;
    for (int64_t i = Warp::rank(); i < pixels; i += Warp::size())
      sum += static_cast<double>(x[plane * pixels + i]);
    sum = Warp::reduce(sum, 0.0, Plus{});
    if (Warp::rank() == 0) y[plane] = static_cast<T>(sum / static_cast<double>(pixels));
  }
}

template <class T>
__global__ void global_backward_kernel(int64_t elements, LongDivisor pixels, T count, const T* dy, T* dx) {
  for (int64_t i = grid_rank(); i < elements; i += grid_threads()) dx[i] = dy[pixels.quotient(i)] / count;
}

int64_t inputs_of(const cpu::Pool2dShape& s) { return s.planes * s.height * s.width; }
int64_t outputs_of(const cpu::Pool2dShape& s) { return s.planes * s.out_height() * s.out_width(); }

}  // namespace

template <class T>
void max_pool2d_forward(const cpu::Pool2dShape& s, const T* x, T* y, int32_t* argmax) {
  cpu::check_pool2d(s);
  const int64_t outputs = outputs_of(s);
  launch(max_forward_kernel<T>, grid_for(outputs), block_size, 0, outputs, Pooling(s), x, y, argmax);
}

template <class T>
void max_pool2d_backward(const cpu::Pool2dShape& s, const T* dy, const int32_t* argmax, T* dx,
                         int64_t copies) {
  cpu::check_pool2d(s);
  const int64_t inputs = copies * inputs_of(s);
  const LongDivisor planes(std::max<int64_t>(1, s.planes));
  launch(max_backward_kernel<T>, grid_for(inputs), block_size, 0, inputs, planes, Pooling(s), dy, argmax, dx);
}

template <class T>
void avg_pool2d_forward(const cpu::Pool2dShape& s, const T* x, T* y) {
  cpu::check_pool2d(s);
  const int64_t outputs = outputs_of(s);
  const T share = 1 / static_cast<T>(s.kernel * s.kernel);
  launch(avg_forward_kernel<T>, grid_for(outputs), block_size, 0, outputs, Pooling(s), share, x, y);
}

template <class T>
void avg_pool2d_backward(const cpu::Pool2dShape& s, const T* dy, T* dx) {
  cpu::check_pool2d(s);
  const int64_t inputs = inputs_of(s);
  const T share = 1 / static_cast<T>(s.kernel * s.kernel);
  launch(avg_backward_kernel<T>, grid_for(inputs), block_size, 0, inputs, Pooling(s), share, dy, dx);
}

template <class T>
void global_avg_pool_forward(int64_t planes, int64_t pixels, const T* x, T* y) {
  check(pixels >= 1, "global_avg_pool: planes of {} pixels", pixels);
  launch(global_forward_kernel<T>, grid_of_warps(planes), block_size, 0, planes, pixels, x, y);
}

template <class T>
void global_avg_pool_backward(int64_t planes, int64_t pixels, const T* dy, T* dx) {
  check(pixels >= 1, "global_avg_pool: planes of {} pixels", pixels);
  const int64_t elements = planes * pixels;
  launch(global_backward_kernel<T>, grid_for(elements), block_size, 0, elements, LongDivisor(pixels),
         static_cast<T>(pixels), dy, dx);
}

#define INSTANTIATE(T)                                                                               \
  template void max_pool2d_forward(const cpu::Pool2dShape&, const T*, T*, int32_t*);                 \
  template void max_pool2d_backward(const cpu::Pool2dShape&, const T*, const int32_t*, T*, int64_t); \
  template void avg_pool2d_forward(const cpu::Pool2dShape&, const T*, T*);                           \
  template void avg_pool2d_backward(const cpu::Pool2dShape&, const T*, T*);                          \
  template void global_avg_pool_forward(int64_t, int64_t, const T*, T*);                             \
  template void global_avg_pool_backward(int64_t, int64_t, const T*, T*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace hashgrad::HASHGRAD_GPU
