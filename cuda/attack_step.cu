// The steps of gradient attacks. What goes element by element is one pass over memory; what needs the norm of
// a row gives it a block, which reads the row again from the cache. Compiled without joining products and
// sums (cmake/cuda.cmake): the bits are those of the CPU.
#include <cmath>

#include "cpu/attack_step_functions.h"
#include "cuda/attack_step.h"
#include "cuda/divisor.h"
#include "cuda/elementwise.h"
#include "cuda/gpu.h"
#include "cuda/team.h"

namespace hashgrad::HASHGRAD_GPU {
namespace {

namespace functions = cpu::functions;
static_assert(block_size == functions::row_lanes);

template <class T>
struct Sign {
  __device__ T operator()(T gradient) const { return functions::direction_of(gradient); }
};
template <class T>
struct Stepped {
  T scale;
  __device__ T operator()(T x, T direction) const { return functions::stepped(x, scale, direction); }
};
template <class T>
struct NearestLinf {
  double eps;
  __device__ T operator()(T x, T centre) const { return functions::nearest_linf(x, centre, eps); }
};
template <class T>
struct AscendedLinf {
  T scale;
  double eps;
  __device__ T operator()(T x, T gradient, T centre) const {
    return functions::nearest_linf(functions::stepped(x, scale, functions::direction_of(gradient)), centre,
                                   eps);
  }
};

/// The larger; a NaN never is.
struct NumberLarger {
  __device__ double operator()(double a, double b) const { return functions::larger_of(a, b); }
};
struct And {
  __device__ int operator()(int a, int b) const { return a & b; }
};

// The functions from here to the kernels are called by all threads of a block, each with its own elements of
// a row.

/// For every thread the sum of term(i), i < n, in the order of every engine (see row_lanes).
template <class Term>
__device__ double sum_of(int64_t n, const Term& term) {
  double sum = 0;
  for (int64_t i = Block::rank(); i < n; i += Block::size()) sum += term(i);
  return Block::reduce(sum, 0.0, Plus{});
}

/// For every thread the largest term(i) above 0.
template <class Term>
__device__ double largest_of(int64_t n, const Term& term) {
  double largest = 0;
  for (int64_t i = Block::rank(); i < n; i += Block::size()) largest = functions::larger_of(largest, term(i));
  return Block::reduce(largest, 0.0, NumberLarger{});
}

/// The elements of gradient / ||gradient||_2.
template <class T>
struct UnitRow {
  const T* gradient;  // [n]
  double largest, root;

  __device__ UnitRow(int64_t n, const T* g) : gradient(g) {
    largest = largest_of(n, [=](int64_t i) { return std::abs(static_cast<double>(g[i])); });
    const double scale = largest;
    root = std::sqrt(
        sum_of(n, [=](int64_t i) { return functions::square_of(static_cast<double>(g[i]) / scale); }));
  }
  __device__ T operator()(int64_t i) const { return functions::unit_of(gradient[i], largest, root); }
};

/// Projects the row whose elements are point(i). Each thread meets its own elements of `out` alone.
template <class T, class Point>
__device__ void project_row(int64_t n, double eps, const Point& point, const T* centre, T* out) {
  const double norm = std::sqrt(sum_of(
      n, [&](int64_t i) { return functions::square_of(functions::difference_of(point(i), centre[i])); }));
  if (!(norm > eps)) {
    for (int64_t i = Block::rank(); i < n; i += Block::size()) out[i] = functions::in_box(point(i));
    return;
  }
  // The scaled row may be outside by rounding, so the factor shrinks, faster and faster, until it is not.
  double shrink = 0x1p-52;
  for (double factor = eps / norm;; factor *= 1 - shrink, shrink = 2 * shrink < 1 ? 2 * shrink : 1) {
    const double reached = sum_of(n, [&](int64_t i) {
      out[i] = functions::drawn_nearer(point(i), centre[i], factor);
      return functions::square_of(functions::difference_of(out[i], centre[i]));
    });
    if (!(std::sqrt(reached) > eps)) return;
  }
}

// The kernels on rows give each a block.

template <class T>
__global__ void unit_kernel(int64_t rows, int64_t columns, const T* gradient, T* out) {
  for (int64_t row = Block::first_row(); row < rows; row += Block::row_stride()) {
    const UnitRow<T> unit(columns, gradient + row * columns);
    for (int64_t i = Block::rank(); i < columns; i += Block::size()) out[row * columns + i] = unit(i);
  }
}

template <class T>
__global__ void project_kernel(int64_t rows, int64_t columns, double eps, const T* x, const T* centre,
                               T* out) {
  for (int64_t row = Block::first_row(); row < rows; row += Block::row_stride()) {
    const T* from = x + row * columns;  // [columns]
    project_row(
        columns, eps, [=](int64_t i) { return from[i]; }, centre + row * columns, out + row * columns);
  }
}

template <class T>
__global__ void ascend_kernel(int64_t rows, int64_t columns, T scale, double eps, const T* x,
                              const T* gradient, const T* centre, T* out) {
  for (int64_t row = Block::first_row(); row < rows; row += Block::row_stride()) {
    const T* from = x + row * columns;  // [columns]
    const UnitRow<T> unit(columns, gradient + row * columns);
    project_row(
        columns, eps, [&](int64_t i) { return functions::stepped(from[i], scale, unit(i)); },
        centre + row * columns, out + row * columns);
  }
}

// One thread per two elements of a row, for which one block of the generator has the bits.
template <class T>
__global__ void start_linf_kernel(int64_t n, int64_t columns, LongDivisor pairs, double eps, uint64_t seed,
                                  uint32_t restart, const int64_t* samples, const T* centre, T* out) {
  for (int64_t at = grid_rank(); at < n; at += grid_threads()) {
    const int64_t row = pairs.quotient(at), first = 2 * pairs.remainder(at, row);
    const Random random(seed, hashgrad::Stream::attack, static_cast<uint64_t>(samples[row]), restart);
    for (int64_t i = first; i < first + 2 && i < columns; ++i)
      out[row * columns + i] =
          functions::offset_by(centre[row * columns + i], eps, functions::uniform_draw(random, i));
  }
}

template <class T>
__global__ void start_l2_kernel(int64_t rows, int64_t columns, uint64_t seed, uint32_t restart,
                                const int64_t* samples, const double* radii, const T* centre, T* out) {
  for (int64_t row = Block::first_row(); row < rows; row += Block::row_stride()) {
    const Random random(seed, hashgrad::Stream::attack, static_cast<uint64_t>(samples[row]), restart);
    const double sum =
        sum_of(columns, [&](int64_t i) { return functions::square_of(functions::normal_draw(random, i)); });
    const double scale = functions::scale_to(radii[row], sum);
    for (int64_t i = Block::rank(); i < columns; i += Block::size())
      out[row * columns + i] =
          functions::offset_by(centre[row * columns + i], scale, functions::normal_draw(random, i));
  }
}

template <class T>
__global__ void distances_kernel(int64_t rows, int64_t columns, const T* x, const T* moved, double* out) {
  for (int64_t row = Block::first_row(); row < rows; row += Block::row_stride()) {
    const T *a = x + row * columns, *b = moved + row * columns;  // [columns]
    const auto size = [=](int64_t i) { return std::abs(functions::difference_of(b[i], a[i])); };
    const double differ = sum_of(columns, [=](int64_t i) { return a[i] != b[i] ? 1.0 : 0.0; });
    const double sum = sum_of(columns, size);
    const double squares = sum_of(
        columns, [=](int64_t i) { return functions::square_of(functions::difference_of(b[i], a[i])); });
    const double largest = largest_of(columns, size);
    if (Block::rank() != 0) continue;
    out[row] = differ;
    out[rows + row] = sum;
    out[2 * rows + row] = std::sqrt(squares);
    out[3 * rows + row] = largest;
  }
}

template <class T>
__global__ void read_kernel(int64_t rows, int64_t classes, int64_t columns, const T* logits, const T* values,
                            const T* gradient, cpu::Reading* out) {
  constexpr int zero = 1, finite = 2;
  for (int64_t row = Block::first_row(); row < rows; row += Block::row_stride()) {
    const Candidate<T> none{INT64_MAX, -static_cast<T>(INFINITY)};
    Candidate<T> best = none;
    if (logits)
      for (int64_t i = Block::rank(); i < classes; i += Block::size())
        best = Best{}(best, Candidate<T>{i, logits[row * classes + i]});
    best = Block::reduce(best, none, Best{});
    int all = zero | finite;
    for (int64_t i = Block::rank(); i < columns; i += Block::size()) {
      const T g = gradient[row * columns + i];
      all &= (g == 0 ? zero : 0) | (std::abs(g) < static_cast<T>(INFINITY) ? finite : 0);
    }
    all = Block::reduce(all, zero | finite, And{});
    if (Block::rank() != 0) continue;
    const bool number = std::abs(best.value) < static_cast<T>(INFINITY);  // of no logits it is infinite
    out[row] = {number ? static_cast<double>(best.column) : -1.0,
                values ? static_cast<double>(values[row]) : 0.0, all & zero ? 1.0 : 0.0,
                all & finite ? 1.0 : 0.0};
  }
}

// One thread per element.
template <class T>
__global__ void copy_rows_kernel(int64_t n, LongDivisor columns, int64_t width, const int64_t* to_rows,
                                 const int64_t* from_rows, const T* from, T* to) {
  for (int64_t at = grid_rank(); at < n; at += grid_threads()) {
    const int64_t k = columns.quotient(at), i = columns.remainder(at, k);
    to[(to_rows ? to_rows[k] : k) * width + i] = from[(from_rows ? from_rows[k] : k) * width + i];
  }
}

}  // namespace

template <class T>
void signs(int64_t n, const T* gradient, T* out) {
  map(n, Sign<T>{}, out, gradient);
}

template <class T>
void unit_rows(int64_t rows, int64_t columns, const T* gradient, T* out) {
  launch(unit_kernel<T>, grid_of_blocks(rows), block_size, 0, rows, columns, gradient, out);
}

template <class T>
void step(int64_t n, T scale, const T* x, const T* direction, T* out) {
  map(n, Stepped<T>{scale}, out, x, direction);
}

template <class T>
void project_linf(int64_t n, double eps, const T* x, const T* centre, T* out) {
  map(n, NearestLinf<T>{eps}, out, x, centre);
}

template <class T>
void project_l2(int64_t rows, int64_t columns, double eps, const T* x, const T* centre, T* out) {
  launch(project_kernel<T>, grid_of_blocks(rows), block_size, 0, rows, columns, eps, x, centre, out);
}

template <class T>
void ascend_linf(int64_t n, T scale, double eps, const T* x, const T* gradient, const T* centre, T* out) {
  map(n, AscendedLinf<T>{scale, eps}, out, x, gradient, centre);
}

template <class T>
void ascend_l2(int64_t rows, int64_t columns, T scale, double eps, const T* x, const T* gradient,
               const T* centre, T* out) {
  launch(ascend_kernel<T>, grid_of_blocks(rows), block_size, 0, rows, columns, scale, eps, x, gradient,
         centre, out);
}

template <class T>
void start_linf(int64_t rows, int64_t columns, double eps, uint64_t seed, uint32_t restart,
                const int64_t* samples, const T* centre, T* out) {
  const int64_t pairs = blocks_for(columns, 2), n = rows * pairs;
  if (n == 0) return;
  launch(start_linf_kernel<T>, grid_for(n), block_size, 0, n, columns, LongDivisor(pairs), eps, seed, restart,
         samples, centre, out);
}

template <class T>
void start_l2(int64_t rows, int64_t columns, uint64_t seed, uint32_t restart, const int64_t* samples,
              const double* radii, const T* centre, T* out) {
  launch(start_l2_kernel<T>, grid_of_blocks(rows), block_size, 0, rows, columns, seed, restart, samples,
         radii, centre, out);
}

template <class T>
void distances(int64_t rows, int64_t columns, const T* x, const T* moved, double* out) {
  launch(distances_kernel<T>, grid_of_blocks(rows), block_size, 0, rows, columns, x, moved, out);
}

template <class T>
void read_rows(int64_t rows, int64_t classes, int64_t columns, const T* logits, const T* values,
               const T* gradient, cpu::Reading* out) {
  launch(read_kernel<T>, grid_of_blocks(rows), block_size, 0, rows, classes, columns, logits, values,
         gradient, out);
}

template <class T>
void copy_rows(int64_t count, int64_t columns, const int64_t* to_rows, const int64_t* from_rows,
               const T* from, T* to) {
  const int64_t n = count * columns;
  if (n == 0) return;
  launch(copy_rows_kernel<T>, grid_for(n), block_size, 0, n, LongDivisor(columns), columns, to_rows,
         from_rows, from, to);
}

#define INSTANTIATE(T)                                                                                       \
  template void signs(int64_t, const T*, T*);                                                                \
  template void unit_rows(int64_t, int64_t, const T*, T*);                                                   \
  template void step(int64_t, T, const T*, const T*, T*);                                                    \
  template void project_linf(int64_t, double, const T*, const T*, T*);                                       \
  template void project_l2(int64_t, int64_t, double, const T*, const T*, T*);                                \
  template void ascend_linf(int64_t, T, double, const T*, const T*, const T*, T*);                           \
  template void ascend_l2(int64_t, int64_t, T, double, const T*, const T*, const T*, T*);                    \
  template void start_linf(int64_t, int64_t, double, uint64_t, uint32_t, const int64_t*, const T*, T*);      \
  template void start_l2(int64_t, int64_t, uint64_t, uint32_t, const int64_t*, const double*, const T*, T*); \
  template void distances(int64_t, int64_t, const T*, const T*, double*);                                    \
  template void read_rows(int64_t, int64_t, int64_t, const T*, const T*, const T*, cpu::Reading*);           \
  template void copy_rows(int64_t, int64_t, const int64_t*, const int64_t*, const T*, T*);
INSTANTIATE(float)
INSTANTIATE(double)
template void copy_rows(int64_t, int64_t, const int64_t*, const int64_t*, const int64_t*, int64_t*);
template void copy_rows(int64_t, int64_t, const int64_t*, const int64_t*, const uint8_t*, uint8_t*);

}  // namespace hashgrad::HASHGRAD_GPU
