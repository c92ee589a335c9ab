// Elementwise work. All of it is bound by memory: what matters is one launch per call and loads of 16 bytes.
#include "cpu/pointwise_functions.h"
#include "cuda/divisor.h"
#include "cuda/elementwise.h"
#include "cuda/gpu.h"
#include "cuda/pointwise.h"

namespace hashgrad::HASHGRAD_GPU {
namespace {

namespace functions = cpu::functions;

/// The functions of cpu/pointwise_functions.h as objects that kernels take.
template <template <class> class Op, class T>
struct Value {
  template <class... X>
  __device__ T operator()(X... x) const {
    return Op<T>::f(x...);
  }
};
template <template <class> class Op, class T>
struct Derivative {
  __device__ T operator()(T x, T y, T dy) const { return Op<T>::df(x, y, dy); }
};

template <class T>
struct AddScaled {
  T alpha;
  __device__ T operator()(T x, T y) const { return y + alpha * x; }
};
template <class T>
struct Scaled {
  T alpha;
  __device__ T operator()(T x) const { return alpha * x; }
};
template <class T>
struct Clamped {
  T low, high;
  __device__ T operator()(T x) const { return functions::clamped(x, low, high); }
};
template <class T>
struct ClampedDerivative {
  T low, high;
  __device__ T operator()(T x, T, T dy) const { return x >= low && x <= high ? dy : T{0}; }
};

// As map_kernel, for each cotangent k: the y axis of the grid runs over them, so that no index is divided.
template <class T, class F>
__global__ void derivative_kernel(int64_t n, int64_t packs, int64_t copies, F f, const T* x, const T* y,
                                  const T* dy_all, T* dx_all) {
  for (int64_t k = blockIdx.y; k < copies; k += gridDim.y) {
    const T* dy = dy_all + k * n;
    T* dx = dx_all + k * n;
    for (int64_t i = grid_rank(); i < packs; i += grid_threads())
      store_pack(dx, i, map_packs<T>(f, load_pack(x, i), load_pack(y, i), load_pack(dy, i)));
    for (int64_t i = packs * Pack<T>::size + grid_rank(); i < n; i += grid_threads())
      dx[i] = f(x[i], y[i], dy[i]);
  }
}

template <class T, class F>
void derivative(int64_t n, int64_t copies, F f, const T* x, const T* y, const T* dy, T* dx) {
  const bool all_aligned = copies <= 1 || n % Pack<T>::size == 0;
  const int64_t packs = all_aligned ? packs_of<T>(n, x, y, dy, dx) : 0;
  const dim3 grid(static_cast<unsigned>(grid_for(packs > 0 ? packs : n)),
                  static_cast<unsigned>(std::min<int64_t>(copies, 1024)));
  launch(derivative_kernel<T, F>, grid, block_size, 0, n, packs, copies, f, x, y, dy, dx);
}

/// cpu::Axes with sizes that are quick to divide by.
template <class Divisor_>
struct Walk {
  int count;
  Divisor_ size[8];
  int64_t a[8], b[8];
};

// One thread per element of y: its index, taken apart from the innermost axis outwards, gives its place in a
// and in b. Neighbours along an axis that is repeated read the same address, which costs a warp nothing.
template <class T, class F, class Index, class Divisor_>
__global__ void broadcast_kernel(Index n, Walk<Divisor_> walk, F f, const T* a, const T* b, T* y) {
  for (int64_t i = grid_rank(); i < n; i += grid_threads()) {
    Index rest = static_cast<Index>(i);
    int64_t from_a = 0, from_b = 0;
    for (int axis = walk.count - 1; axis > 0; --axis) {
      const Index outer = walk.size[axis].quotient(rest), at = walk.size[axis].remainder(rest, outer);
      from_a += at * walk.a[axis];
      from_b += at * walk.b[axis];
      rest = outer;
    }
    y[i] = f(a[from_a + rest * walk.a[0]], b[from_b + rest * walk.b[0]]);
  }
}

template <class Index, class Divisor_, class T, class F>
void broadcast(Index n, const cpu::Axes& axes, F f, const T* a, const T* b, T* y) {
  Walk<Divisor_> walk{axes.count, {}, {}, {}};
  for (int i = 0; i < axes.count; ++i) {
    walk.size[i] = Divisor_(axes.size[i]);
    walk.a[i] = axes.a[i];
    walk.b[i] = axes.b[i];
  }
  launch(broadcast_kernel<T, F, Index, Divisor_>, grid_for(n), block_size, 0, n, walk, f, a, b, y);
}

template <class T, class F>
void elementwise(const cpu::Axes& axes, F f, const T* a, const T* b, T* y) {
  int64_t n = 1;
  for (int i = 0; i < axes.count; ++i) n *= axes.size[i];
  const bool plain = axes.count == 0 || (axes.count == 1 && axes.a[0] == 1 && axes.b[0] == 1);
  if (n == 0) return;
  if (plain)
    map(n, f, y, a, b);
  else if (n <= INT32_MAX)
    broadcast<int32_t, Divisor>(static_cast<int32_t>(n), axes, f, a, b, y);
  else
    broadcast<int64_t, LongDivisor>(n, axes, f, a, b, y);
}

}  // namespace

template <class T>
void unary(cpu::Unary op, int64_t n, const T* x, T* y) {
  switch (op) {
#define X(name)          \
  case cpu::Unary::name: \
    return map(n, Value<functions::name, T>{}, y, x);
    HASHGRAD_UNARY(X)
#undef X
  }
}

template <class T>
void unary_backward(cpu::Unary op, int64_t n, const T* x, const T* y, const T* dy, T* dx, int64_t copies) {
  switch (op) {
#define X(name)          \
  case cpu::Unary::name: \
    return derivative(n, copies, Derivative<functions::name, T>{}, x, y, dy, dx);
    HASHGRAD_UNARY(X)
#undef X
  }
}

template <class T>
void binary(cpu::Binary op, const cpu::Axes& axes, const T* a, const T* b, T* y) {
  switch (op) {
#define X(name)           \
  case cpu::Binary::name: \
    return elementwise(axes, Value<functions::name, T>{}, a, b, y);
    HASHGRAD_BINARY(X)
#undef X
  }
}

template <class T>
void binary(cpu::Binary op, int64_t n, const T* a, const T* b, T* y) {
  HASHGRAD_GPU::binary(op, cpu::Axes{1, {n}, {1}, {1}}, a, b, y);
}

template <class T>
void binary(cpu::Binary op, int64_t outer, int64_t inner, const T* a, cpu::Step a_step, const T* b,
            cpu::Step b_step, T* y) {
  const cpu::Axes axes{2, {outer, inner}, {a_step.outer, a_step.inner}, {b_step.outer, b_step.inner}};
  HASHGRAD_GPU::binary(op, axes, a, b, y);  // not cpu::binary, which a cpu::Axes brings into view
}

template <class T>
void axpy(int64_t n, T alpha, const T* x, T* y) {
  map(n, AddScaled<T>{alpha}, y, x, static_cast<const T*>(y));
}

template <class T>
void scale(int64_t n, T alpha, const T* x, T* y) {
  map(n, Scaled<T>{alpha}, y, x);
}

template <class T>
void clamp(int64_t n, T low, T high, const T* x, T* y) {
  map(n, Clamped<T>{low, high}, y, x);
}

template <class T>
void clamp_backward(int64_t n, T low, T high, const T* x, const T* dy, T* dx, int64_t copies) {
  derivative(n, copies, ClampedDerivative<T>{low, high}, x, x, dy, dx);
}

#define INSTANTIATE(T)                                                                               \
  template void unary(cpu::Unary, int64_t, const T*, T*);                                            \
  template void unary_backward(cpu::Unary, int64_t, const T*, const T*, const T*, T*, int64_t);      \
  template void binary(cpu::Binary, int64_t, const T*, const T*, T*);                                \
  template void binary(cpu::Binary, int64_t, int64_t, const T*, cpu::Step, const T*, cpu::Step, T*); \
  template void binary(cpu::Binary, const cpu::Axes&, const T*, const T*, T*);                       \
  template void axpy(int64_t, T, const T*, T*);                                                      \
  template void scale(int64_t, T, const T*, T*);                                                     \
  template void clamp(int64_t, T, T, const T*, T*);                                                  \
  template void clamp_backward(int64_t, T, T, const T*, const T*, T*, int64_t);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace hashgrad::HASHGRAD_GPU
