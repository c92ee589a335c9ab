// Loops of attacks that work on raw rows: rows in parallel, and sums along a row that become vector code and
// yet add in one fixed order.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "core/parallel.h"
#include "core/tensor.h"

namespace hashgrad {

/// Calls body(row) for every row in [0, rows), in parallel.
template <class F>
void for_rows(size_t rows, const F& body) {
  constexpr int64_t rows_per_task = 8;
  parallel_ranges(static_cast<int64_t>(rows), rows_per_task, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) body(static_cast<size_t>(row));
  });
}

/// Elements per row of a tensor whose axis 0 is the rows.
inline int64_t row_size(const Tensor& t) { return t.size(0) == 0 ? 0 : t.numel() / t.size(0); }

/// Address of row `row` of a contiguous tensor whose axis 0 is the rows.
template <class T>
T* row_data(Tensor& t, size_t row) {
  return t.data<T>() + static_cast<int64_t>(row) * (t.numel() / t.size(0));
}
template <class T>
const T* row_data(const Tensor& t, size_t row) {
  return row_data<T>(const_cast<Tensor&>(t), row);
}

/// f(0) + ... + f(n - 1) in float64: element i is added to sum i % 8 of eight, which are added last.
template <class F>
double lane_sum(int64_t n, const F& f) {
  constexpr int64_t lanes = 8;
  double sums[lanes] = {};
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes)
    for (int64_t lane = 0; lane < lanes; ++lane) sums[lane] += f(i + lane);
  for (; i < n; ++i) sums[i % lanes] += f(i);
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

/// Number of a != b, sum of |a - b|, sum of (a - b)^2, and the largest |a - b|.
template <class T>
double l0_distance(const T* a, const T* b, int64_t n) {
  return lane_sum(n, [=](int64_t i) { return a[i] != b[i] ? 1.0 : 0.0; });
}
template <class T>
double squared_l2(const T* a, const T* b, int64_t n) {
  return lane_sum(n, [=](int64_t i) {
    const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    return d * d;
  });
}
template <class T>
double l1_distance(const T* a, const T* b, int64_t n) {
  return lane_sum(n,
                  [=](int64_t i) { return std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])); });
}
template <class T>
double linf_distance(const T* a, const T* b, int64_t n) {
  double largest = 0;
  for (int64_t i = 0; i < n; ++i)
    largest = std::max(largest, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  return largest;
}

}  // namespace hashgrad
