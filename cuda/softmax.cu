// Softmax and log-softmax: a team per row, which reads the row from memory once and from the cache after
// that.
#include <cmath>

#include "core/error.h"
#include "cpu/pointwise_functions.h"
#include "cuda/gpu.h"
#include "cuda/softmax.h"
#include "cuda/team.h"

namespace hashgrad::HASHGRAD_GPU {
namespace {

namespace functions = cpu::functions;

/// The largest element of a row, for every thread of the team.
template <class Team, class T>
__device__ T maximum_of(int64_t columns, const T* x) {
  T maximum = -static_cast<T>(INFINITY);
  for (int64_t i = Team::rank(); i < columns; i += Team::size()) maximum = Larger{}(maximum, x[i]);
  return Team::reduce(maximum, -static_cast<T>(INFINITY), Larger{});
}

// In every kernel a thread meets the same elements in each pass, so the result may be written over an input.

template <class Team, class T>
__global__ void softmax_kernel(int64_t rows, int64_t columns, const T* x_all, T* y_all) {
  for (int64_t row = Team::first_row(); row < rows; row += Team::row_stride()) {
    const T* x = x_all + row * columns;  // [columns]
    T* y = y_all + row * columns;
    const T maximum = maximum_of<Team>(columns, x);
    double total = 0;
    for (int64_t i = Team::rank(); i < columns; i += Team::size()) {
      y[i] = functions::exp_of(x[i] - maximum);
      total += static_cast<double>(y[i]);
    }
    const T sum = static_cast<T>(Team::reduce(total, 0.0, Plus{}));
    for (int64_t i = Team::rank(); i < columns; i += Team::size()) y[i] /= sum;
  }
}

template <class Team, class T>
__global__ void log_softmax_kernel(int64_t rows, int64_t columns, const T* x_all, T* y_all) {
  for (int64_t row = Team::first_row(); row < rows; row += Team::row_stride()) {
    const T* x = x_all + row * columns;  // [columns]
    const T maximum = maximum_of<Team>(columns, x);
    double total = 0;
    for (int64_t i = Team::rank(); i < columns; i += Team::size())
      total += static_cast<double>(functions::exp_of(x[i] - maximum));
    const T shift = std::log(static_cast<T>(Team::reduce(total, 0.0, Plus{})));
    for (int64_t i = Team::rank(); i < columns; i += Team::size())
      y_all[row * columns + i] = (x[i] - maximum) - shift;
  }
}

/// dx = y * (dy - sum(y * dy)).
struct SoftmaxDerivative {
  template <class T>
  static __device__ double term(T y, T dy) {
    return static_cast<double>(y) * static_cast<double>(dy);
  }
  template <class T>
  static __device__ T df(T y, T dy, T sum) {
    return y * (dy - sum);
  }
};
/// dx = dy - exp(y) * sum(dy).
struct LogSoftmaxDerivative {
  template <class T>
  static __device__ double term(T, T dy) {
    return static_cast<double>(dy);
  }
  template <class T>
  static __device__ T df(T y, T dy, T sum) {
    return dy - functions::exp_of(y) * sum;
  }
};

// Row `at` of dy [copies * rows, columns] belongs to row at % rows of y.
template <class Team, class F, class T>
__global__ void derivative_kernel(int64_t rows, int64_t columns, int64_t copies, const T* y_all,
                                  const T* dy_all, T* dx_all) {
  for (int64_t at = Team::first_row(); at < copies * rows; at += Team::row_stride()) {
    const T *y = y_all + at % rows * columns, *dy = dy_all + at * columns;  // [columns]
    double total = 0;
    for (int64_t i = Team::rank(); i < columns; i += Team::size()) total += F::term(y[i], dy[i]);
    const T sum = static_cast<T>(Team::reduce(total, 0.0, Plus{}));
    for (int64_t i = Team::rank(); i < columns; i += Team::size())
      dx_all[at * columns + i] = F::df(y[i], dy[i], sum);
  }
}

template <class F, class T>
void derivative(const char* op, int64_t rows, int64_t columns, const T* y, const T* dy, T* dx,
                int64_t copies) {
  check(columns >= 1, "{}: rows of {} elements (expected at least 1)", op, columns);
  launch(for_warp(columns) ? derivative_kernel<Warp, F, T> : derivative_kernel<Block, F, T>,
         grid_of_rows(copies * rows, columns), block_size, 0, rows, columns, copies, y, dy, dx);
}

}  // namespace

template <class T>
void softmax(int64_t rows, int64_t columns, const T* x, T* y) {
  check(columns >= 1, "softmax: rows of {} elements (expected at least 1)", columns);
  launch(for_warp(columns) ? softmax_kernel<Warp, T> : softmax_kernel<Block, T>, grid_of_rows(rows, columns),
         block_size, 0, rows, columns, x, y);
}

template <class T>
void softmax_backward(int64_t rows, int64_t columns, const T* y, const T* dy, T* dx, int64_t copies) {
  derivative<SoftmaxDerivative>("softmax_backward", rows, columns, y, dy, dx, copies);
}

template <class T>
void log_softmax(int64_t rows, int64_t columns, const T* x, T* y) {
  check(columns >= 1, "log_softmax: rows of {} elements (expected at least 1)", columns);
  launch(for_warp(columns) ? log_softmax_kernel<Warp, T> : log_softmax_kernel<Block, T>,
         grid_of_rows(rows, columns), block_size, 0, rows, columns, x, y);
}

template <class T>
void log_softmax_backward(int64_t rows, int64_t columns, const T* y, const T* dy, T* dx, int64_t copies) {
  derivative<LogSoftmaxDerivative>("log_softmax_backward", rows, columns, y, dy, dx, copies);
}

#define INSTANTIATE(T)                                                               \
  template void softmax(int64_t, int64_t, const T*, T*);                             \
  template void softmax_backward(int64_t, int64_t, const T*, const T*, T*, int64_t); \
  template void log_softmax(int64_t, int64_t, const T*, T*);                         \
  template void log_softmax_backward(int64_t, int64_t, const T*, const T*, T*, int64_t);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace hashgrad::HASHGRAD_GPU
