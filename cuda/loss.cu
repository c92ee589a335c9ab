// Losses of a classifier: a warp per row, which computes the row's value and its gradient in one go.
#include <cmath>

#include "cpu/loss_functions.h"
#include "cpu/pointwise_functions.h"
#include "cuda/divisor.h"
#include "cuda/elementwise.h"
#include "cuda/gpu.h"
#include "cuda/loss.h"
#include "cuda/team.h"

namespace hashgrad::HASHGRAD_GPU {
namespace {

namespace functions = cpu::functions;

struct Smaller {
  __device__ int64_t operator()(int64_t a, int64_t b) const { return b < a ? b : a; }
};

// One block looks at all labels: there are no more than rows in a batch.
__global__ void find_bad_label_kernel(int64_t rows, int64_t classes, const int64_t* labels, int64_t* row) {
  int64_t first = rows;
  for (int64_t i = threadIdx.x; i < rows; i += blockDim.x)
    if ((labels[i] < 0 || labels[i] >= classes) && i < first) first = i;
  first = block_reduce(first, rows, Smaller{});
  if (threadIdx.x == 0) *row = first;
}

// One thread per element of the targets.
template <class T>
__global__ void smoothed_one_hot_kernel(int64_t n, LongDivisor classes, T rest, T hit, const int64_t* labels,
                                        T* targets) {
  for (int64_t i = grid_rank(); i < n; i += grid_threads()) {
    const int64_t row = classes.quotient(i);
    targets[i] = classes.remainder(i, row) == labels[row] ? hit : rest;
  }
}

/// Logit j of a row, or -inf in place of that of the label.
template <class T>
__device__ T without(const T* z, int64_t j, int64_t label) {
  return j == label ? -static_cast<T>(INFINITY) : z[j];
}

/// Maximum of a row without `label` (-1: with all), and the sum of exp(z - maximum) rounded to T.
template <class T>
struct Softmax {
  T maximum, total;
};
template <class T>
__device__ Softmax<T> softmax_of(int64_t classes, const T* z, int64_t label) {
  T maximum = -static_cast<T>(INFINITY);
  for (int64_t j = Warp::rank(); j < classes; j += Warp::size())
    maximum = Larger{}(maximum, without(z, j, label));
  maximum = Warp::reduce(maximum, maximum, Larger{});
  double total = 0;
  for (int64_t j = Warp::rank(); j < classes; j += Warp::size())
    total += static_cast<double>(functions::exp_of(without(z, j, label) - maximum));
  return {maximum, static_cast<T>(Warp::reduce(total, 0.0, Plus{}))};
}

// loss = -sum t (z - max - log total); gradient = exp(z - max) / total * sum(t) - t.
template <class T>
__global__ void cross_entropy_kernel(int64_t rows, int64_t classes, const T* z_all, const T* t_all, T* loss,
                                     T* gradient) {
  for (int64_t row = Warp::first_row(); row < rows; row += Warp::row_stride()) {
    const T *z = z_all + row * classes, *t = t_all + row * classes;  // [classes]
    const Softmax<T> s = softmax_of(classes, z, -1);
    const T shift = std::log(s.total);
    double sum = 0, mass = 0;
    for (int64_t j = Warp::rank(); j < classes; j += Warp::size()) {
      const double target = static_cast<double>(t[j]);
      if (t[j] != 0) sum -= target * static_cast<double>((z[j] - s.maximum) - shift);  // 0 * log 0 is 0
      mass += target;
    }
    sum = Warp::reduce(sum, 0.0, Plus{});
    mass = Warp::reduce(mass, 0.0, Plus{});
    if (Warp::rank() == 0) loss[row] = static_cast<T>(sum);
    if (!gradient) continue;
    for (int64_t j = Warp::rank(); j < classes; j += Warp::size()) {
      const T p = functions::exp_of(z[j] - s.maximum) / s.total;
      gradient[row * classes + j] = p * static_cast<T>(mass) - t[j];
    }
  }
}

// The value in double: a large gap must not round the sum away.
template <class T>
__global__ void exact_cross_entropy_kernel(int64_t rows, int64_t classes, const T* z_all,
                                           const int64_t* labels, T* loss, T* gradient) {
  for (int64_t row = Warp::first_row(); row < rows; row += Warp::row_stride()) {
    const T* z = z_all + row * classes;  // [classes]
    const int64_t label = labels[row];
    const Softmax<T> s = softmax_of(classes, z, label);
    const double maximum = static_cast<double>(s.maximum);
    double sum = 0;
    for (int64_t j = Warp::rank(); j < classes; j += Warp::size())
      if (j != label) sum += std::exp(static_cast<double>(z[j]) - maximum);
    sum = Warp::reduce(sum, 0.0, Plus{});
    if (Warp::rank() == 0)
      loss[row] = static_cast<T>(maximum - static_cast<double>(z[label]) + std::log(sum));
    if (!gradient) continue;
    for (int64_t j = Warp::rank(); j < classes; j += Warp::size())
      gradient[row * classes + j] = j == label ? T{-1} : functions::exp_of(z[j] - s.maximum) / s.total;
  }
}

// One thread per element of dz.
template <class T>
__global__ void scale_rows_kernel(int64_t n, LongDivisor period, LongDivisor classes, const T* dy,
                                  const T* gradient, T* dz) {
  for (int64_t i = grid_rank(); i < n; i += grid_threads())
    dz[i] = dy[classes.quotient(i)] * gradient[period.remainder(i, period.quotient(i))];
}

/// The four best candidates, best first.
template <class T>
struct Top {
  Candidate<T> of[4];
};
template <class T>
__device__ void insert(Top<T>& top, Candidate<T> next) {
  GPU_UNROLL
  for (int k = 0; k < 4; ++k) {  // pushes what is worse one place down, and the worst out
    const Candidate<T> here = top.of[k];
    const bool first = precedes(next, here);
    top.of[k] = first ? next : here;
    next = first ? here : next;
  }
}
struct Merge {
  template <class T>
  __device__ Top<T> operator()(Top<T> a, const Top<T>& b) const {
    GPU_UNROLL
    for (int k = 0; k < 4; ++k) insert(a, b.of[k]);
    return a;
  }
};

template <class T>
__global__ void logit_difference_kernel(cpu::LogitLoss kind, int64_t rows, int64_t classes, const T* z_all,
                                        const int64_t* labels, const int64_t* targets, T* loss,
                                        cpu::LogitChoice* choices) {
  for (int64_t row = Warp::first_row(); row < rows; row += Warp::row_stride()) {
    const T* z = z_all + row * classes;  // [classes]
    const Candidate<T> none{INT64_MAX, -static_cast<T>(INFINITY)};
    Top<T> top{{none, none, none, none}};
    for (int64_t j = Warp::rank(); j < classes; j += Warp::size()) insert(top, Candidate<T>{j, z[j]});
    top = Warp::reduce(top, top, Merge{});
    if (Warp::rank() != 0) continue;
    const int64_t columns[4] = {top.of[0].column, top.of[1].column, top.of[2].column, top.of[3].column};
    const cpu::LogitChoice c = functions::choose(kind, z, columns, labels[row], targets ? targets[row] : 0);
    loss[row] = static_cast<T>(functions::difference_of(c, z) / functions::scale_of(c, z));
    if (choices) choices[row] = c;
  }
}

// One thread per element of dz, most of which are 0.
template <class T>
__global__ void logit_difference_backward_kernel(int64_t n, int64_t rows, int64_t classes,
                                                 LongDivisor divisor, const T* z,
                                                 const cpu::LogitChoice* choices, const T* dy, T* dz) {
  for (int64_t i = grid_rank(); i < n; i += grid_threads()) {
    const int64_t at = divisor.quotient(i), row = at % rows;
    const cpu::LogitChoice& c = choices[row];
    const double scale = functions::scale_of(c, z + row * classes);
    const double difference = functions::difference_of(c, z + row * classes);
    dz[i] =
        functions::slope_of<T>(c, divisor.remainder(i, at), scale, difference, static_cast<double>(dy[at]));
  }
}

}  // namespace

void find_bad_label(int64_t rows, int64_t classes, const int64_t* labels, int64_t* row) {
  launch(find_bad_label_kernel, 1, block_size, 0, rows, classes, labels, row);
}

template <class T>
void smoothed_one_hot(int64_t rows, int64_t classes, double smoothing, const int64_t* labels, T* targets) {
  const double rest = smoothing / static_cast<double>(classes);
  if (rows * classes == 0) return;
  launch(smoothed_one_hot_kernel<T>, grid_for(rows * classes), block_size, 0, rows * classes,
         LongDivisor(classes), static_cast<T>(rest), static_cast<T>(1 - smoothing + rest), labels, targets);
}

template <class T>
void cross_entropy(int64_t rows, int64_t classes, const T* z, const T* targets, T* loss, T* gradient) {
  launch(cross_entropy_kernel<T>, grid_of_warps(rows), block_size, 0, rows, classes, z, targets, loss,
         gradient);
}

template <class T>
void exact_cross_entropy(int64_t rows, int64_t classes, const T* z, const int64_t* labels, T* loss,
                         T* gradient) {
  launch(exact_cross_entropy_kernel<T>, grid_of_warps(rows), block_size, 0, rows, classes, z, labels, loss,
         gradient);
}

template <class T>
void scale_rows(int64_t rows, int64_t classes, int64_t copies, const T* dy, const T* gradient, T* dz) {
  const int64_t n = copies * rows * classes;
  if (n == 0) return;
  launch(scale_rows_kernel<T>, grid_for(n), block_size, 0, n, LongDivisor(rows * classes),
         LongDivisor(classes), dy, gradient, dz);
}

template <class T>
void logit_difference(cpu::LogitLoss kind, int64_t rows, int64_t classes, const T* z, const int64_t* labels,
                      const int64_t* targets, T* loss, cpu::LogitChoice* choices) {
  launch(logit_difference_kernel<T>, grid_of_warps(rows), block_size, 0, kind, rows, classes, z, labels,
         targets, loss, choices);
}

template <class T>
void logit_difference_backward(int64_t rows, int64_t classes, int64_t copies, const T* z,
                               const cpu::LogitChoice* choices, const T* dy, T* dz) {
  const int64_t n = copies * rows * classes;
  if (n == 0) return;
  launch(logit_difference_backward_kernel<T>, grid_for(n), block_size, 0, n, rows, classes,
         LongDivisor(classes), z, choices, dy, dz);
}

#define INSTANTIATE(T)                                                                                       \
  template void smoothed_one_hot(int64_t, int64_t, double, const int64_t*, T*);                              \
  template void cross_entropy(int64_t, int64_t, const T*, const T*, T*, T*);                                 \
  template void exact_cross_entropy(int64_t, int64_t, const T*, const int64_t*, T*, T*);                     \
  template void scale_rows(int64_t, int64_t, int64_t, const T*, const T*, T*);                               \
  template void logit_difference(cpu::LogitLoss, int64_t, int64_t, const T*, const int64_t*, const int64_t*, \
                                 T*, cpu::LogitChoice*);                                                     \
  template void logit_difference_backward(int64_t, int64_t, int64_t, const T*, const cpu::LogitChoice*,      \
                                          const T*, T*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace hashgrad::HASHGRAD_GPU
