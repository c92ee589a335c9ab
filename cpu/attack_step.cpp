#include "cpu/attack_step.h"

#include <algorithm>
#include <cmath>

#include "core/parallel.h"
#include "cpu/attack_kernels.h"
#include "cpu/attack_step_functions.h"
#include "cpu/for_rows.h"
#include "cpu/scratch.h"

namespace hashgrad::cpu {
namespace {

using namespace functions;

constexpr int64_t grain = 16 * 1024;  // elements per task

/// The sum of term(i) for i < n, in the order of every engine (see row_lanes).
template <class Term>
double sum_of(int64_t n, const Term& term) {
  double lane[row_lanes] = {};
  for (int64_t begin = 0; begin < n; begin += row_lanes)
    for (int64_t i = begin; i < std::min(begin + row_lanes, n); ++i) lane[i - begin] += term(i);
  constexpr int warp = 32;
  for (int w = 0; w < row_lanes; w += warp)
    for (int apart = warp / 2; apart > 0; apart /= 2)
      for (int i = w; i < w + apart; ++i) lane[i] += lane[i + apart];
  for (int apart = row_lanes / 2; apart >= warp; apart /= 2)
    for (int w = 0; w < apart; w += warp) lane[w] += lane[w + apart];
  return lane[0];
}

/// The largest |term(i)|, i < n; 0 of none. Eight at a time, which changes nothing but the speed.
template <class Term>
double largest_of(int64_t n, const Term& term) {
  constexpr int64_t lanes = 8;
  double largest[lanes] = {};
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes)
    for (int64_t k = 0; k < lanes; ++k) largest[k] = larger_of(largest[k], std::abs(term(i + k)));
  for (; i < n; ++i) largest[0] = larger_of(largest[0], std::abs(term(i)));
  for (int64_t k = 1; k < lanes; ++k) largest[0] = larger_of(largest[0], largest[k]);
  return largest[0];
}

template <class T>
auto value_of(const T* x) {
  return [x](int64_t i) { return static_cast<double>(x[i]); };
}

/// The norm of gradient / largest.
template <class T>
double root_of(int64_t n, double largest, const T* gradient) {
  return std::sqrt(
      sum_of(n, [&](int64_t i) { return square_of(static_cast<double>(gradient[i]) / largest); }));
}

template <class T>
double norm_of_difference(int64_t n, const T* x, const T* centre) {
  return std::sqrt(sum_of(n, [&](int64_t i) { return square_of(difference_of(x[i], centre[i])); }));
}

template <class T>
void project_row(int64_t n, double eps, const T* x, const T* centre, T* out) {
  const double norm = norm_of_difference(n, x, centre);
  if (!(norm > eps)) {
    std::transform(x, x + n, out, in_box<T>);
    return;
  }
  // The scaled row may be outside by rounding, so the factor shrinks, faster and faster, until it is not.
  double shrink = 0x1p-52;
  for (double factor = eps / norm;; factor *= 1 - shrink, shrink = std::min(1.0, 2 * shrink)) {
    for (int64_t i = 0; i < n; ++i) out[i] = drawn_nearer(x[i], centre[i], factor);
    if (!(norm_of_difference(n, out, centre) > eps)) return;
  }
}

template <class T>
double prediction_of(int64_t classes, const T* logits) {
  const T* largest = std::max_element(logits, logits + classes, [](T a, T b) { return above(b, a); });
  return std::isfinite(*largest) ? static_cast<double>(largest - logits) : -1;
}

}  // namespace

template <class T>
void signs(int64_t n, const T* gradient, T* out) {
  for_rows(n, 1, grain, [=](int64_t i) { out[i] = direction_of(gradient[i]); });
}

template <class T>
void unit_rows(int64_t rows, int64_t columns, const T* gradient, T* out) {
  for_rows(rows, columns, grain, [=](int64_t row) {
    const T* g = gradient + row * columns;  // [columns]
    const double largest = largest_of(columns, value_of(g)), root = root_of(columns, largest, g);
    for (int64_t i = 0; i < columns; ++i) out[row * columns + i] = unit_of(g[i], largest, root);
  });
}

template <class T>
void step(int64_t n, T scale, const T* x, const T* direction, T* out) {
  for_rows(n, 1, grain, [=](int64_t i) { out[i] = stepped(x[i], scale, direction[i]); });
}

template <class T>
void project_linf(int64_t n, double eps, const T* x, const T* centre, T* out) {
  for_rows(n, 1, grain, [=](int64_t i) { out[i] = nearest_linf(x[i], centre[i], eps); });
}

template <class T>
void project_l2(int64_t rows, int64_t columns, double eps, const T* x, const T* centre, T* out) {
  for_rows(rows, columns, grain, [=](int64_t row) {
    const int64_t at = row * columns;
    project_row(columns, eps, x + at, centre + at, out + at);
  });
}

template <class T>
void ascend_linf(int64_t n, T scale, double eps, const T* x, const T* gradient, const T* centre, T* out) {
  parallel_ranges(n, grain, [=](int64_t begin, int64_t end) {
    attack_kernels().of<T>().ascend_linf(end - begin, scale, eps, x + begin, gradient + begin, centre + begin,
                                         out + begin);
  });
}

template <class T>
void descend_tanh(int64_t n, T rate, T eps, const T* gradient, T* w, T* m, T* v, T* x) {
  attack_kernels().of<T>().descend_tanh(n, rate, eps, gradient, w, m, v, x);
}

template <class T>
void ascend_l2(int64_t rows, int64_t columns, T scale, double eps, const T* x, const T* gradient,
               const T* centre, T* out) {
  for_rows(rows, columns, grain, [=](int64_t row) {
    const int64_t at = row * columns;
    const double largest = largest_of(columns, value_of(gradient + at)),
                 root = root_of(columns, largest, gradient + at);
    const Scratch<T> room(columns);
    T* moved = room.data();
    for (int64_t i = 0; i < columns; ++i)
      moved[i] = stepped(x[at + i], scale, unit_of(gradient[at + i], largest, root));
    project_row<T>(columns, eps, moved, centre + at, out + at);
  });
}

template <class T>
void start_linf(int64_t rows, int64_t columns, double eps, uint64_t seed, uint32_t restart,
                const int64_t* samples, const T* centre, T* out) {
  for_rows(rows, columns, grain, [=](int64_t row) {
    const Random random(seed, Stream::attack, static_cast<uint64_t>(samples[row]), restart);
    for (int64_t i = 0; i < columns; ++i)
      out[row * columns + i] = offset_by(centre[row * columns + i], eps, uniform_draw(random, i));
  });
}

template <class T>
void start_l2(int64_t rows, int64_t columns, uint64_t seed, uint32_t restart, const int64_t* samples,
              const double* radii, const T* centre, T* out) {
  for_rows(rows, columns, grain, [=](int64_t row) {
    const Random random(seed, Stream::attack, static_cast<uint64_t>(samples[row]), restart);
    const Scratch<double> room(columns);
    double* draws = room.data();
    for (int64_t i = 0; i < columns; ++i) draws[i] = normal_draw(random, i);
    const double sum = sum_of(columns, [&](int64_t i) { return square_of(draws[i]); });
    const double scale = scale_to(radii[row], sum);
    for (int64_t i = 0; i < columns; ++i)
      out[row * columns + i] = offset_by(centre[row * columns + i], scale, draws[i]);
  });
}

template <class T>
void distances(int64_t rows, int64_t columns, const T* x, const T* moved, double* out) {
  for_rows(rows, columns, grain, [=](int64_t row) {
    const T *a = x + row * columns, *b = moved + row * columns;  // [columns]
    int64_t differ = 0;
    for (int64_t i = 0; i < columns; ++i) differ += a[i] != b[i];
    out[row] = static_cast<double>(differ);
    out[rows + row] = sum_of(columns, [&](int64_t i) { return std::abs(difference_of(b[i], a[i])); });
    out[2 * rows + row] = norm_of_difference(columns, b, a);
    out[3 * rows + row] = largest_of(columns, [&](int64_t i) { return difference_of(b[i], a[i]); });
  });
}

template <class T>
void read_rows(int64_t rows, int64_t classes, int64_t columns, const T* logits, const T* values,
               const T* gradient, Reading* out) {
  for_rows(rows, classes + columns, grain, [=](int64_t row) {
    const T *g = gradient + row * columns, *end = g + columns;
    out[row] = {logits ? prediction_of(classes, logits + row * classes) : -1,
                values ? static_cast<double>(values[row]) : 0,
                static_cast<double>(std::all_of(g, end, [](T v) { return v == 0; })),
                static_cast<double>(std::all_of(g, end, [](T v) { return std::isfinite(v); }))};
  });
}

template <class T>
void copy_rows(int64_t count, int64_t columns, const int64_t* to_rows, const int64_t* from_rows,
               const T* from, T* to) {
  for_rows(count, columns, grain, [=](int64_t k) {
    std::copy_n(from + (from_rows ? from_rows[k] : k) * columns, columns,
                to + (to_rows ? to_rows[k] : k) * columns);
  });
}

#define INSTANTIATE(T)                                                                                       \
  template void signs(int64_t, const T*, T*);                                                                \
  template void unit_rows(int64_t, int64_t, const T*, T*);                                                   \
  template void step(int64_t, T, const T*, const T*, T*);                                                    \
  template void project_linf(int64_t, double, const T*, const T*, T*);                                       \
  template void project_l2(int64_t, int64_t, double, const T*, const T*, T*);                                \
  template void ascend_linf(int64_t, T, double, const T*, const T*, const T*, T*);                           \
  template void descend_tanh(int64_t, T, T, const T*, T*, T*, T*, T*);                                       \
  template void ascend_l2(int64_t, int64_t, T, double, const T*, const T*, const T*, T*);                    \
  template void start_linf(int64_t, int64_t, double, uint64_t, uint32_t, const int64_t*, const T*, T*);      \
  template void start_l2(int64_t, int64_t, uint64_t, uint32_t, const int64_t*, const double*, const T*, T*); \
  template void distances(int64_t, int64_t, const T*, const T*, double*);                                    \
  template void read_rows(int64_t, int64_t, int64_t, const T*, const T*, const T*, Reading*);                \
  template void copy_rows(int64_t, int64_t, const int64_t*, const int64_t*, const T*, T*);
INSTANTIATE(float)
INSTANTIATE(double)
template void copy_rows(int64_t, int64_t, const int64_t*, const int64_t*, const int64_t*, int64_t*);
template void copy_rows(int64_t, int64_t, const int64_t*, const int64_t*, const uint8_t*, uint8_t*);

}  // namespace hashgrad::cpu
