// Sums and maxima in a fixed order: pieces of fixed size, double accumulators, pieces added in index order.
// The result depends on the data and the extents alone, never on the thread count. A row's result depends on
// that row alone.
#pragma once

#include <cstdint>

namespace hashgrad::cpu {

/// *y = sum of x [n]; 0 when n = 0.
template <class T>
void sum(int64_t n, const T* x, T* y);
/// y [rows] = sum of each row of x [rows, columns].
template <class T>
void sum_rows(int64_t rows, int64_t columns, const T* x, T* y);
/// y [columns] = sum over the rows of x [rows, columns].
template <class T>
void sum_columns(int64_t rows, int64_t columns, const T* x, T* y);
/// y [channels] = sum over batch and pixels of x [batch, channels, pixels]: the bias gradient of a
/// convolution.
template <class T>
void sum_channels(int64_t batch, int64_t channels, int64_t pixels, const T* x, T* y);

/// The axes of a partial sum, outermost first, neighbours that share their fate taken together: kept and
/// summed over in turn.
struct Groups {
  int count = 0;  // 0 to 8
  int64_t size[8] = {};
  bool summed[8] = {};
};
/// y [copies, kept groups] = x [copies, groups] summed over the others.
template <class T>
void sum_groups(const Groups& groups, int64_t copies, const T* x, T* y);

/// Whether every element of x [n] is a number, and not an infinite one.
template <class T>
bool all_finite(int64_t n, const T* x);
/// Whether every element of x [n] is in [0, 1].
template <class T>
bool all_in_box(int64_t n, const T* x);

/// y [rows] = sum over the row of a * b, both [rows, columns]. With a = b: squared L2 norms.
template <class T>
void dot_rows(int64_t rows, int64_t columns, const T* a, const T* b, T* y);
/// Per row of x [rows, columns >= 1]: the maximum and the column of its first occurrence; a NaN counts as the
/// maximum. Either output may be null.
template <class T>
void max_rows(int64_t rows, int64_t columns, const T* x, T* maximum, int64_t* argmax);
/// y [rows, columns] = zeros but for y[row, column[row]] = x[row]: the gradient of max_rows.
template <class T>
void place_in_rows(int64_t rows, int64_t columns, const int64_t* column, const T* x, T* y);

}  // namespace hashgrad::cpu
