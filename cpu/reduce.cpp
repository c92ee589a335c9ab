#include "cpu/reduce.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "core/parallel.h"
#include "cpu/blocking.h"
#include "cpu/for_rows.h"
#include "cpu/scratch.h"

namespace hashgrad::cpu {
namespace {

constexpr int64_t grain = 64 * 1024;  // elements per task; of a sum it is the piece
constexpr int lanes = 8;              // independent sums, so that additions overlap and vectorise

/// Sum over i < n of term(i) in a fixed order: eight interleaved sums, added pairwise.
template <class Term>
double sum_terms(int64_t n, const Term& term) {
  double partial[lanes] = {};
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes)
    for (int lane = 0; lane < lanes; ++lane) partial[lane] += term(i + lane);
  for (int lane = 0; i < n; ++i, ++lane) partial[lane] += term(i);
  return ((partial[0] + partial[4]) + (partial[2] + partial[6])) +
         ((partial[1] + partial[5]) + (partial[3] + partial[7]));
}

/// Whether good(x[i]) for every i < n. A piece is looked at to its end, without branches.
template <class T, class Good>
bool all(int64_t n, const T* x, const Good& good) {
  std::atomic<bool> found{false};
  parallel_ranges(n, grain, [&](int64_t begin, int64_t end) {
    int bad = 0;
    for (int64_t i = begin; i < end; ++i) bad |= !good(x[i]);
    if (bad) found = true;
  });
  return !found;
}

}  // namespace

template <class T>
bool all_finite(int64_t n, const T* x) {
  return all(n, x, [](T v) { return std::abs(v) <= std::numeric_limits<T>::max(); });
}

template <class T>
bool all_in_box(int64_t n, const T* x) {
  return all(n, x, [](T v) { return v >= 0 && v <= 1; });
}

template <class T>
void sum(int64_t n, const T* x, T* y) {
  const Scratch<double> pieces(divide_up(n, grain));
  parallel_ranges(n, grain, [&](int64_t begin, int64_t end) {
    pieces.data()[begin / grain] =
        sum_terms(end - begin, [&](int64_t i) { return static_cast<double>(x[begin + i]); });
  });
  *y = static_cast<T>(sum_terms(divide_up(n, grain), [&](int64_t i) { return pieces.data()[i]; }));
}

template <class T>
void sum_rows(int64_t rows, int64_t columns, const T* x, T* y) {
  for_rows(rows, columns, grain, [&](int64_t row) {
    y[row] = static_cast<T>(
        sum_terms(columns, [&](int64_t i) { return static_cast<double>(x[row * columns + i]); }));
  });
}

namespace {

template <class T, class Y>
void add_rows(int64_t rows, int64_t columns, const T* x, Y* y) {
  // Each task owns some columns and walks down the rows, so the order of addition is that of the rows.
  parallel_ranges(columns, std::max<int64_t>(16, grain / std::max<int64_t>(1, rows)),
                  [&](int64_t begin, int64_t end) {
                    const Scratch<double> total(end - begin);
                    std::fill_n(total.data(), end - begin, 0.0);
                    for (int64_t row = 0; row < rows; ++row)
                      for (int64_t j = begin; j < end; ++j)
                        total.data()[j - begin] += static_cast<double>(x[row * columns + j]);
                    for (int64_t j = begin; j < end; ++j) y[j] = static_cast<Y>(total.data()[j - begin]);
                  });
}

}  // namespace

template <class T>
void sum_columns(int64_t rows, int64_t columns, const T* x, T* y) {
  add_rows(rows, columns, x, y);
}

template <class T>
void sum_channels(int64_t batch, int64_t channels, int64_t pixels, const T* x, T* y) {
  for_rows(channels, batch * pixels, grain, [&](int64_t c) {
    double total = 0;
    for (int64_t n = 0; n < batch; ++n)
      total += sum_terms(pixels,
                         [&](int64_t i) { return static_cast<double>(x[(n * channels + c) * pixels + i]); });
    y[c] = static_cast<T>(total);
  });
}

namespace {

int64_t product(const Groups& groups, int from, bool kept_only) {
  int64_t n = 1;
  for (int i = from; i < groups.count; ++i)
    if (!kept_only || !groups.summed[i]) n *= groups.size[i];
  return n;
}

/// Of the groups from `from` on. The patterns that other functions know are tried first; else the outermost
/// group is peeled off, and what is summed over it stays double.
template <class T>
void sum_inner(const Groups& groups, int from, const T* x, T* y) {
  const int count = groups.count - from;
  const int64_t* size = groups.size + from;
  const bool summed = count > 0 && groups.summed[from];
  if (count == 0) {
    *y = *x;
  } else if (count == 1 && summed) {
    sum(size[0], x, y);
  } else if (count == 1) {
    std::copy_n(x, size[0], y);
  } else if (count == 2 && summed) {
    sum_columns(size[0], size[1], x, y);
  } else if (count == 2) {
    sum_rows(size[0], size[1], x, y);
  } else if (count == 3 && summed) {
    sum_channels(size[0], size[1], size[2], x, y);
  } else if (summed) {
    const int64_t rest = product(groups, from + 1, false), out = product(groups, from + 1, true);
    const Scratch<double> partial(rest), total(out);
    add_rows(size[0], rest, x, partial.data());
    sum_inner(groups, from + 1, partial.data(), total.data());
    std::transform(total.data(), total.data() + out, y, [](double v) { return static_cast<T>(v); });
  } else {
    const int64_t in = product(groups, from + 1, false), out = product(groups, from + 1, true);
    for (int64_t i = 0; i < size[0]; ++i) sum_inner(groups, from + 1, x + i * in, y + i * out);
  }
}

}  // namespace

template <class T>
void sum_groups(const Groups& groups, int64_t copies, const T* x, T* y) {
  const int64_t in = product(groups, 0, false), out = product(groups, 0, true);
  for (int64_t k = 0; k < copies; ++k) sum_inner(groups, 0, x + k * in, y + k * out);
}

template <class T>
void dot_rows(int64_t rows, int64_t columns, const T* a, const T* b, T* y) {
  for_rows(rows, columns, grain, [&](int64_t row) {
    const T *p = a + row * columns, *q = b + row * columns;
    y[row] = static_cast<T>(
        sum_terms(columns, [&](int64_t i) { return static_cast<double>(p[i]) * static_cast<double>(q[i]); }));
  });
}

template <class T>
void max_rows(int64_t rows, int64_t columns, const T* x, T* maximum, int64_t* argmax) {
  check(columns >= 1, "max_rows: rows of {} elements have no maximum", columns);
  for_rows(rows, columns, grain, [&](int64_t row) {
    const T* p = x + row * columns;
    int64_t best = 0;
    for (int64_t i = 1; i < columns && !std::isnan(p[best]); ++i)
      if (p[i] > p[best] || std::isnan(p[i])) best = i;
    if (maximum) maximum[row] = p[best];
    if (argmax) argmax[row] = best;
  });
}

template <class T>
void place_in_rows(int64_t rows, int64_t columns, const int64_t* column, const T* x, T* y) {
  for_rows(rows, columns, grain, [&](int64_t row) {
    std::fill_n(y + row * columns, columns, T{0});
    y[row * columns + column[row]] = x[row];
  });
}

#define INSTANTIATE(T)                                                         \
  template bool all_finite(int64_t, const T*);                                 \
  template bool all_in_box(int64_t, const T*);                                 \
  template void sum(int64_t, const T*, T*);                                    \
  template void sum_groups(const Groups&, int64_t, const T*, T*);              \
  template void place_in_rows(int64_t, int64_t, const int64_t*, const T*, T*); \
  template void sum_rows(int64_t, int64_t, const T*, T*);                      \
  template void sum_columns(int64_t, int64_t, const T*, T*);                   \
  template void sum_channels(int64_t, int64_t, int64_t, const T*, T*);         \
  template void dot_rows(int64_t, int64_t, const T*, const T*, T*);            \
  template void max_rows(int64_t, int64_t, const T*, T*, int64_t*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace hashgrad::cpu
