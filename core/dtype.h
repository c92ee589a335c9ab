// Element types: float32 and float64 to compute with, int64 and uint8 for labels, indices and images.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "core/error.h"

namespace hashgrad {

enum class DType : uint8_t { float32, float64, int64, uint8 };

constexpr size_t size_of(DType t) {
  switch (t) {
    case DType::float32:
      return 4;
    case DType::float64:
    case DType::int64:
      return 8;
    case DType::uint8:
      break;
  }
  return 1;
}

constexpr const char* name_of(DType t) {
  switch (t) {
    case DType::float32:
      return "float32";
    case DType::float64:
      return "float64";
    case DType::int64:
      return "int64";
    case DType::uint8:
      break;
  }
  return "uint8";
}

constexpr bool is_floating(DType t) { return t == DType::float32 || t == DType::float64; }

template <class T>
inline constexpr DType dtype_of = [] { static_assert(sizeof(T) == 0, "not an element type"); }();
template <>
inline constexpr DType dtype_of<float> = DType::float32;
template <>
inline constexpr DType dtype_of<double> = DType::float64;
template <>
inline constexpr DType dtype_of<int64_t> = DType::int64;
template <>
inline constexpr DType dtype_of<uint8_t> = DType::uint8;

/// Calls `f.operator()<float>()` or `<double>()`; any other type is an error that names `op`.
template <class F>
decltype(auto) for_float_type(DType t, const char* op, F&& f) {
  if (t == DType::float32) return f.template operator()<float>();
  if (t == DType::float64) return f.template operator()<double>();
  fail("{}: computes on float32 or float64, not on {}", op, name_of(t));
}

/// The same for all four element types.
template <class F>
decltype(auto) for_any_type(DType t, F&& f) {
  switch (t) {
    case DType::float32:
      return f.template operator()<float>();
    case DType::float64:
      return f.template operator()<double>();
    case DType::int64:
      return f.template operator()<int64_t>();
    case DType::uint8:
      break;
  }
  return f.template operator()<uint8_t>();
}

}  // namespace hashgrad
