// Copies, conversions and fills between strided layouts.
#include <array>

#include "core/dtype.h"
#include "cuda/copy.h"
#include "cuda/divisor.h"
#include "cuda/elementwise.h"
#include "cuda/gpu.h"
#include "cuda/runtime.h"

namespace hashgrad::HASHGRAD_GPU {
namespace {

/// The axes that both layouts are walked through, outermost first.
struct Axes {
  int count = 0;
  int64_t numel = 1;
  int64_t size[Shape::max_rank], to[Shape::max_rank], from[Shape::max_rank];  // strides in elements

  /// Axes of size 1 are left out, and neighbours are joined where both layouts step through them as through
  /// one.
  Axes(const Shape& shape, const Shape& to_strides, const Shape& from_strides) {
    for (int i = 0; i < shape.rank(); ++i) {
      numel *= shape[i];
      if (shape[i] == 1) continue;
      const int last = count - 1;
      const bool joins =
          last >= 0 && to[last] == to_strides[i] * shape[i] && from[last] == from_strides[i] * shape[i];
      const int at = joins ? last : count++;
      size[at] = joins ? size[at] * shape[i] : shape[i];
      to[at] = to_strides[i];
      from[at] = from_strides[i];
    }
  }
  /// Whether both are plain arrays.
  bool contiguous() const { return count == 0 || (count == 1 && to[0] == 1 && from[0] == 1); }
};

/// Axes with sizes that are quick to divide by.
template <class Divisor_>
struct Walk {
  int count;
  Divisor_ size[Shape::max_rank];
  int64_t to[Shape::max_rank], from[Shape::max_rank];
};

// What is written: elements of another array, converted, or one value.
template <class To, class From>
struct Converted {
  const From* from;
  __device__ To operator()(int64_t at) const { return static_cast<To>(from[at]); }
};
template <class To>
struct Constant {
  To value;
  __device__ To operator()(int64_t) const { return value; }
};

// One thread per element: its index, taken apart from the innermost axis outwards, gives its place in both
// layouts.
template <class Index, class Divisor_, class To, class Source>
__global__ void strided_kernel(Index n, Walk<Divisor_> walk, Source source, To* to) {
  for (int64_t i = grid_rank(); i < n; i += grid_threads()) {
    Index rest = static_cast<Index>(i);
    int64_t to_at = 0, from_at = 0;
    for (int axis = walk.count - 1; axis > 0; --axis) {
      const Index outer = walk.size[axis].quotient(rest), at = walk.size[axis].remainder(rest, outer);
      to_at += at * walk.to[axis];
      from_at += at * walk.from[axis];
      rest = outer;
    }
    to[to_at + rest * walk.to[0]] = source(from_at + rest * walk.from[0]);
  }
}

template <class Index, class Divisor_, class To, class Source>
void walk_strided(const Axes& axes, Source source, To* to) {
  Walk<Divisor_> walk{axes.count, {}, {}, {}};
  for (int i = 0; i < axes.count; ++i) {
    walk.size[i] = Divisor_(axes.size[i]);
    walk.to[i] = axes.to[i];
    walk.from[i] = axes.from[i];
  }
  launch(strided_kernel<Index, Divisor_, To, Source>, grid_for(axes.numel), block_size, 0,
         static_cast<Index>(axes.numel), walk, source, to);
}

template <class To, class Source>
void write(const Axes& axes, Source source, To* to) {
  if (axes.numel <= INT32_MAX)
    walk_strided<int32_t, Divisor>(axes, source, to);
  else
    walk_strided<int64_t, LongDivisor>(axes, source, to);
}

// As wide a store per thread as there is, for plain arrays.
template <class T>
struct FillWith {
  T value;
  __device__ T operator()() const { return value; }
};

/// Whether all bytes of the value are zero; -0.0 is not.
template <class T>
bool is_zero_bytes(T value) {
  return std::bit_cast<std::array<std::byte, sizeof(T)>>(value) == std::array<std::byte, sizeof(T)>{};
}

template <class T>
T* as(const Layout& layout) {
  return reinterpret_cast<T*>(layout.data);
}

}  // namespace

void copy(const Shape& shape, const Layout& to, const Layout& from) {
  const Axes axes(shape, to.strides, from.strides);
  if (axes.numel == 0) return;
  if (to.dtype == from.dtype && axes.contiguous())
    return copy_within(to.data, from.data, static_cast<size_t>(axes.numel) * size_of(to.dtype));
  for_any_type(to.dtype, [&]<class To>() {
    for_any_type(from.dtype,
                 [&]<class From>() { write(axes, Converted<To, From>{as<const From>(from)}, as<To>(to)); });
  });
}

void fill(const Shape& shape, const Layout& to, double value) {
  const Axes axes(shape, to.strides, to.strides);
  if (axes.numel == 0) return;
  for_any_type(to.dtype, [&]<class T>() {
    const T converted = static_cast<T>(value);
    if (!axes.contiguous())
      write(axes, Constant<T>{converted}, as<T>(to));
    else if (is_zero_bytes(converted))
      set_bytes(to.data, 0, static_cast<size_t>(axes.numel) * sizeof(T));
    else
      map(axes.numel, FillWith<T>{converted}, as<T>(to));
  });
}

}  // namespace hashgrad::HASHGRAD_GPU
