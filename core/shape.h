// Sizes of a tensor's axes, row-major; also used for strides.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "core/error.h"

namespace hashgrad {

/// Up to eight axes of at most 2^40 elements in all. Prints as [128,3,32,32] in every message.
class Shape {
 public:
  static constexpr int max_rank = 8;

  Shape() = default;
  Shape(std::initializer_list<int64_t> sizes) : Shape(sizes.begin(), sizes.size()) {}
  explicit Shape(const std::vector<int64_t>& sizes) : Shape(sizes.data(), sizes.size()) {}

  int rank() const { return rank_; }
  /// Size of axis i; negative i counts from the back. Out of range is an Error.
  int64_t operator[](int i) const { return sizes_[axis(i)]; }
  void set(int i, int64_t size) { sizes_[axis(i)] = size; }
  /// i as a non-negative axis number.
  size_t axis(int i) const;
  /// Number of elements; 1 for a scalar. Negative or overflowing sizes were refused on construction.
  int64_t numel() const;
  bool operator==(const Shape&) const = default;

  const int64_t* begin() const { return sizes_.data(); }
  const int64_t* end() const { return sizes_.data() + rank_; }

  /// This shape with axis i taken out, or with an axis of this size put in before i, 0 to rank().
  Shape without(int i) const;
  Shape with(int i, int64_t size) const;
  /// Strides, in elements, of a contiguous row-major tensor of this shape.
  Shape row_major_strides() const;

 private:
  Shape(const int64_t* sizes, size_t rank);
  std::array<int64_t, max_rank> sizes_{};
  int rank_ = 0;
};

std::string to_string(const Shape& shape);
/// The shape both broadcast to (trailing axes aligned, size 1 stretches); an Error naming `op` and both if
/// none.
Shape broadcast(const Shape& a, const Shape& b, const char* op);

}  // namespace hashgrad

template <>
struct fmt::formatter<hashgrad::Shape> : fmt::formatter<std::string> {
  auto format(const hashgrad::Shape& s, fmt::format_context& ctx) const {
    return fmt::formatter<std::string>::format(hashgrad::to_string(s), ctx);
  }
};
