// Elementwise work: unary functions with their derivatives, and binary functions with broadcasting. Outputs
// may be the same memory as an input. A NaN that comes in comes out.
#pragma once

#include <cstdint>

namespace hashgrad::cpu {

/// The unary functions; cpu/pointwise_functions.h defines each as struct {f(x), df(x, y, dy)}. Adding one is
/// adding its struct there and its name here.
#define HASHGRAD_UNARY(X) \
  X(neg)                  \
  X(abs)                  \
  X(exp)                  \
  X(log)                  \
  X(sqrt)                 \
  X(square)               \
  X(reciprocal)           \
  X(sin) X(cos) X(tanh) X(sigmoid) X(relu) X(leaky_relu) X(gelu) X(softplus) X(sign) X(floor) X(ceil) X(round)

enum class Unary {
#define X(name) name,
  HASHGRAD_UNARY(X)
#undef X
};

/// y[i] = f(x[i]).
template <class T>
void unary(Unary op, int64_t n, const T* x, T* y);
/// dx[k, i] = f'(x[i]) * dy[k, i], given y = f(x) and `copies` cotangents k, one behind the other. Kinks:
/// relu'(0) = 0, abs'(0) = 0; steps (sign, floor, ...) give 0.
template <class T>
void unary_backward(Unary op, int64_t n, const T* x, const T* y, const T* dy, T* dx, int64_t copies = 1);

/// Comparisons give 1 or 0 (0 with NaN); max and min give NaN when either side is NaN; keep is a where b is
/// not 0, else 0 (unlike mul, of an infinite or NaN a too).
#define HASHGRAD_BINARY(X) \
  X(add) X(sub) X(mul) X(div) X(max) X(min) X(pow) X(greater) X(greater_equal) X(equal) X(keep)

enum class Binary {
#define X(name) name,
  HASHGRAD_BINARY(X)
#undef X
};

/// y[i] = a[i] op b[i].
template <class T>
void binary(Binary op, int64_t n, const T* a, const T* b, T* y);

/// Distance in elements between neighbours along the outer and the inner axis; 0 repeats. inner is 0 or 1.
struct Step {
  int64_t outer, inner;
};
/// y[o, i] = a[o * a_step.outer + i * a_step.inner] op b[...], y [outer, inner] contiguous. A scalar is {0,
/// 0}, a row vector {0, 1}, a column vector {1, 0}, a matrix {inner, 1}. An output may be the same memory as
/// a full-size input.
template <class T>
void binary(Binary op, int64_t outer, int64_t inner, const T* a, Step a_step, const T* b, Step b_step, T* y);

/// The axes of a broadcast, outermost first: size, and each operand's distance in elements between neighbours
/// (0 repeats); along the innermost axis it is 0 or 1.
struct Axes {
  int count = 0;  // 0 to 8
  int64_t size[8] = {}, a[8] = {}, b[8] = {};
};
/// The same over any number of axes; y is contiguous, its size the product of all sizes.
template <class T>
void binary(Binary op, const Axes& axes, const T* a, const T* b, T* y);

/// y += alpha * x.
template <class T>
void axpy(int64_t n, T alpha, const T* x, T* y);
/// y = alpha * x.
template <class T>
void scale(int64_t n, T alpha, const T* x, T* y);
/// y = min(max(x, low), high), NaN stays NaN.
template <class T>
void clamp(int64_t n, T low, T high, const T* x, T* y);
/// dx[k, i] = dy[k, i] where low <= x[i] <= high, else 0.
template <class T>
void clamp_backward(int64_t n, T low, T high, const T* x, const T* dy, T* dx, int64_t copies = 1);

}  // namespace hashgrad::cpu
