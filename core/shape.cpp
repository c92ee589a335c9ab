#include "core/shape.h"

#include <algorithm>
#include <fmt/ranges.h>

namespace hashgrad {

Shape::Shape(const int64_t* sizes, size_t rank) {
  check(rank <= max_rank, "shape: {} axes, at most {} are supported", rank, max_rank);
  rank_ = static_cast<int>(rank);
  std::copy_n(sizes, rank, sizes_.begin());
  constexpr int64_t limit = int64_t{1} << 40;
  int64_t n = 1;
  for (size_t i = 0; i < rank; ++i) {
    check(sizes[i] >= 0 && sizes[i] <= limit, "shape: axis {} has size {}", i, sizes[i]);
    const int64_t size = std::max<int64_t>(1, sizes[i]);
    check(size <= limit / n, "shape: {} has more than 2^40 elements", *this);
    n *= size;
  }
}

size_t Shape::axis(int i) const {
  const int a = i < 0 ? i + rank_ : i;
  check(a >= 0 && a < rank_, "shape: no axis {} in {}", i, *this);
  return static_cast<size_t>(a);
}

int64_t Shape::numel() const {
  int64_t n = 1;
  for (int64_t s : *this) n *= s;
  return n;
}

Shape Shape::without(int i) const {
  Shape s = *this;
  const size_t a = axis(i);
  std::copy(s.sizes_.begin() + a + 1, s.sizes_.end(), s.sizes_.begin() + a);
  s.sizes_.back() = 0;
  --s.rank_;
  return s;
}

Shape Shape::with(int i, int64_t size) const {
  check(i >= 0 && i <= rank_, "shape: no place {} for an axis in {}", i, *this);
  std::vector<int64_t> s(begin(), end());
  s.insert(s.begin() + i, size);
  return Shape(s);
}

Shape Shape::row_major_strides() const {
  Shape strides = *this;
  int64_t step = 1;
  for (size_t i = static_cast<size_t>(rank_); i-- > 0;) {
    strides.sizes_[i] = step;
    step *= std::max<int64_t>(1, sizes_[i]);
  }
  return strides;
}

std::string to_string(const Shape& shape) {
  return fmt::format("[{}]", fmt::join(shape.begin(), shape.end(), ","));
}

Shape broadcast(const Shape& a, const Shape& b, const char* op) {
  const int rank = std::max(a.rank(), b.rank());
  std::vector<int64_t> out(static_cast<size_t>(rank));
  for (int i = 1; i <= rank; ++i) {
    const int64_t x = i <= a.rank() ? a[-i] : 1, y = i <= b.rank() ? b[-i] : 1;
    check(x == y || x == 1 || y == 1, "{}: shapes {} and {} do not broadcast", op, a, b);
    out[static_cast<size_t>(rank - i)] = x == 1 ? y : x;
  }
  return Shape(out);
}

}  // namespace hashgrad
