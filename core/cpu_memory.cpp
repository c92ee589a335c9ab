#include "core/cpu_memory.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace hashgrad {
namespace {

/// Walks all index tuples of `shape` (rank >= 1) in row-major order, one innermost row at a time: f(a_offset,
/// b_offset) is called with the two element offsets of each row's start.
template <class F>
void for_rows(const Shape& shape, const Shape& a_strides, const Shape& b_strides, F&& f) {
  const int outer = shape.rank() - 1;
  std::array<int64_t, Shape::max_rank> index{};
  int64_t a = 0, b = 0;
  for (int64_t rows = shape.numel() / std::max<int64_t>(1, shape[-1]); rows > 0; --rows) {
    f(a, b);
    for (int d = outer - 1; d >= 0; --d) {
      auto& i = index[static_cast<size_t>(d)];
      a += a_strides[d];
      b += b_strides[d];
      if (++i < shape[d]) break;
      a -= a_strides[d] * i;
      b -= b_strides[d] * i;
      i = 0;
    }
  }
}

template <class To, class From>
void copy_strided(const Shape& shape, To* to, const Shape& to_strides, const From* from,
                  const Shape& from_strides) {
  if (shape.numel() == 0) return;
  if (shape.rank() == 0) {
    *to = static_cast<To>(*from);
    return;
  }
  const int64_t n = shape[-1], to_step = to_strides[-1], from_step = from_strides[-1];
  for_rows(shape, to_strides, from_strides, [&](int64_t t, int64_t f) {
    if constexpr (std::is_same_v<To, From>) {
      if (to_step == 1 && from_step == 1) {
        std::memcpy(to + t, from + f, static_cast<size_t>(n) * sizeof(To));
        return;
      }
    }
    for (int64_t i = 0; i < n; ++i) to[t + i * to_step] = static_cast<To>(from[f + i * from_step]);
  });
}

template <class T>
T* as(const Layout& layout) {
  return reinterpret_cast<T*>(layout.data);
}

}  // namespace

void CpuMemory::from_host(std::byte* to, const std::byte* from, size_t bytes) {
  if (bytes > 0) std::memmove(to, from, bytes);
}
void CpuMemory::to_host(std::byte* to, const std::byte* from, size_t bytes) { from_host(to, from, bytes); }

void CpuMemory::copy(const Shape& shape, const Layout& to, const Layout& from) {
  if (to.dtype == from.dtype && to.strides == from.strides && to.strides == shape.row_major_strides())
    return from_host(to.data, from.data, static_cast<size_t>(shape.numel()) * size_of(to.dtype));
  for_any_type(to.dtype, [&]<class To>() {
    for_any_type(from.dtype, [&]<class From>() {
      copy_strided(shape, as<To>(to), to.strides, as<From>(from), from.strides);
    });
  });
}

void CpuMemory::fill(const Shape& shape, const Layout& to, double value) {
  for_any_type(to.dtype, [&]<class T>() {
    const T v = static_cast<T>(value);
    if (to.strides == shape.row_major_strides()) {
      std::fill_n(as<T>(to), shape.numel(), v);
    } else {
      Shape still = shape;
      for (int i = 0; i < shape.rank(); ++i) still.set(i, 0);
      copy_strided(shape, as<T>(to), to.strides, &v, still);
    }
  });
}

}  // namespace hashgrad
