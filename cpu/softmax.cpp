#include "cpu/softmax.h"

#include <cmath>

#include "core/error.h"
#include "cpu/exp.h"
#include "cpu/for_rows.h"
#include "cpu/reduce.h"

namespace hashgrad::cpu {
namespace {

/// body(first element) for every row.
template <class Body>
void for_offsets(const char* op, int64_t rows, int64_t columns, const Body& body) {
  check(columns >= 1, "{}: rows of {} elements (expected at least 1)", op, columns);
  for_rows(rows, columns, 16 * 1024, [&](int64_t row) { body(row * columns); });
}

}  // namespace

template <class T>
void softmax(int64_t rows, int64_t columns, const T* x, T* y) {
  for_offsets("softmax", rows, columns, [&](int64_t at) {
    T maximum{0}, total{0};
    max_rows<T>(1, columns, x + at, &maximum, nullptr);
    for (int64_t i = at; i < at + columns; ++i) y[i] = exp_inline(x[i] - maximum);
    sum_rows(1, columns, y + at, &total);
    for (int64_t i = at; i < at + columns; ++i) y[i] /= total;
  });
}

template <class T>
void softmax_backward(int64_t rows, int64_t columns, const T* y, const T* dy, T* dx, int64_t copies) {
  for_offsets("softmax_backward", copies * rows, columns, [&](int64_t at) {
    const T *p = y + at % (rows * columns), *d = dy + at;
    T mean{0};
    dot_rows(1, columns, p, d, &mean);
    for (int64_t i = 0; i < columns; ++i) dx[at + i] = p[i] * (d[i] - mean);
  });
}

template <class T>
void log_softmax(int64_t rows, int64_t columns, const T* x, T* y) {
  for_offsets("log_softmax", rows, columns, [&](int64_t at) {
    T maximum{0}, total{0};
    max_rows<T>(1, columns, x + at, &maximum, nullptr);
    for (int64_t i = at; i < at + columns; ++i) total += exp_inline(x[i] - maximum);
    const T shift = std::log(total);
    for (int64_t i = at; i < at + columns; ++i) y[i] = (x[i] - maximum) - shift;
  });
}

template <class T>
void log_softmax_backward(int64_t rows, int64_t columns, const T* y, const T* dy, T* dx, int64_t copies) {
  for_offsets("log_softmax_backward", copies * rows, columns, [&](int64_t at) {
    const T *log_p = y + at % (rows * columns), *d = dy + at;
    T total{0};
    sum_rows(1, columns, d, &total);
    for (int64_t i = 0; i < columns; ++i) dx[at + i] = d[i] - exp_inline(log_p[i]) * total;
  });
}

#define INSTANTIATE(T)                                                               \
  template void softmax(int64_t, int64_t, const T*, T*);                             \
  template void softmax_backward(int64_t, int64_t, const T*, const T*, T*, int64_t); \
  template void log_softmax(int64_t, int64_t, const T*, T*);                         \
  template void log_softmax_backward(int64_t, int64_t, const T*, const T*, T*, int64_t);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace hashgrad::cpu
