#include "cpu/pointwise.h"

#include <algorithm>

#include "core/parallel.h"
#include "cpu/for_rows.h"
#include "cpu/pointwise_functions.h"

namespace hashgrad::cpu {
namespace {

using functions::clamped;

constexpr int64_t grain = 64 * 1024;  // elements per task

/// body(i) for every i < n.
template <class Body>
void for_each(int64_t n, const Body& body) {
  for_rows(n, 1, grain, body);
}

template <class T, template <class> class Op>
void binary_rows(int64_t outer, int64_t inner, const T* a, Step a_step, const T* b, Step b_step, T* y) {
  const auto row = [&](int64_t o, int64_t begin, int64_t end) {
    const T *p = a + o * a_step.outer, *q = b + o * b_step.outer;
    T* out = y + o * inner;
    // The four cases are spelled out because a loop with a step of 0 or 1 known only at run time is not
    // vectorised.
    if (a_step.inner && b_step.inner)
      for (int64_t i = begin; i < end; ++i) out[i] = Op<T>::f(p[i], q[i]);
    else if (a_step.inner)
      for (int64_t i = begin; i < end; ++i) out[i] = Op<T>::f(p[i], *q);
    else if (b_step.inner)
      for (int64_t i = begin; i < end; ++i) out[i] = Op<T>::f(*p, q[i]);
    else
      std::fill(out + begin, out + end, Op<T>::f(*p, *q));
  };
  if (inner == 0) return;
  if (inner >= grain) {
    for (int64_t o = 0; o < outer; ++o)
      parallel_ranges(inner, grain, [&](int64_t begin, int64_t end) { row(o, begin, end); });
    return;
  }
  for_rows(outer, inner, grain, [&](int64_t o) { row(o, 0, inner); });
}

}  // namespace

template <class T>
void unary(Unary op, int64_t n, const T* x, T* y) {
  switch (op) {
#define X(name)     \
  case Unary::name: \
    return for_each(n, [=](int64_t i) { y[i] = functions::name<T>::f(x[i]); });
    HASHGRAD_UNARY(X)
#undef X
  }
}

template <class T>
void unary_backward(Unary op, int64_t n, const T* x, const T* y, const T* dy, T* dx, int64_t copies) {
  for (; copies > 0; --copies, dy += n, dx += n) switch (op) {
#define X(name)                                                                         \
  case Unary::name:                                                                     \
    for_each(n, [=](int64_t i) { dx[i] = functions::name<T>::df(x[i], y[i], dy[i]); }); \
    break;
      HASHGRAD_UNARY(X)
#undef X
    }
}

template <class T>
void binary(Binary op, int64_t outer, int64_t inner, const T* a, Step a_step, const T* b, Step b_step, T* y) {
  switch (op) {
#define X(name)      \
  case Binary::name: \
    return binary_rows<T, functions::name>(outer, inner, a, a_step, b, b_step, y);
    HASHGRAD_BINARY(X)
#undef X
  }
}

template <class T>
void binary(Binary op, int64_t n, const T* a, const T* b, T* y) {
  binary(op, 1, n, a, {n, 1}, b, {n, 1}, y);
}

/// The two innermost axes are a kernel's; those outside them are walked through here.
template <class T>
void binary(Binary op, const Axes& axes, const T* a, const T* b, T* y) {
  const int n = axes.count;
  if (n == 0) return binary(op, 1, a, b, y);
  if (n == 1) return binary(op, 1, axes.size[0], a, {0, axes.a[0]}, b, {0, axes.b[0]}, y);
  const int64_t outer = axes.size[n - 2], inner = axes.size[n - 1];
  int64_t slices = 1;
  for (int i = 0; i < n - 2; ++i) slices *= axes.size[i];
  for (int64_t slice = 0; slice < slices; ++slice, y += outer * inner) {
    const T *from_a = a, *from_b = b;
    int64_t rest = slice;
    for (int i = n - 3; i >= 0; rest /= axes.size[i--]) {
      from_a += rest % axes.size[i] * axes.a[i];
      from_b += rest % axes.size[i] * axes.b[i];
    }
    binary(op, outer, inner, from_a, {axes.a[n - 2], axes.a[n - 1]}, from_b, {axes.b[n - 2], axes.b[n - 1]},
           y);
  }
}

template <class T>
void axpy(int64_t n, T alpha, const T* x, T* y) {
  for_each(n, [=](int64_t i) { y[i] += alpha * x[i]; });
}

template <class T>
void scale(int64_t n, T alpha, const T* x, T* y) {
  for_each(n, [=](int64_t i) { y[i] = alpha * x[i]; });
}

template <class T>
void clamp(int64_t n, T low, T high, const T* x, T* y) {
  for_each(n, [=](int64_t i) { y[i] = clamped(x[i], low, high); });
}

template <class T>
void clamp_backward(int64_t n, T low, T high, const T* x, const T* dy, T* dx, int64_t copies) {
  for (; copies > 0; --copies, dy += n, dx += n)
    for_each(n, [=](int64_t i) { dx[i] = x[i] >= low && x[i] <= high ? dy[i] : T{0}; });
}

#define INSTANTIATE(T)                                                                     \
  template void unary(Unary, int64_t, const T*, T*);                                       \
  template void unary_backward(Unary, int64_t, const T*, const T*, const T*, T*, int64_t); \
  template void binary(Binary, const Axes&, const T*, const T*, T*);                       \
  template void binary(Binary, int64_t, int64_t, const T*, Step, const T*, Step, T*);      \
  template void binary(Binary, int64_t, const T*, const T*, T*);                           \
  template void axpy(int64_t, T, const T*, T*);                                            \
  template void scale(int64_t, T, const T*, T*);                                           \
  template void clamp(int64_t, T, T, const T*, T*);                                        \
  template void clamp_backward(int64_t, T, T, const T*, const T*, T*, int64_t);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace hashgrad::cpu
