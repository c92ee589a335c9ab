// Sums in double in an order that depends on the extents alone, and maxima.
#include <cmath>

#include "core/error.h"
#include "cuda/divisor.h"
#include "cuda/elementwise.h"
#include "cuda/gpu.h"
#include "cuda/reduce.h"
#include "cuda/scratch.h"
#include "cuda/team.h"

namespace hashgrad::HASHGRAD_GPU {
namespace {

// What is summed up: term i of row r, in double.

template <class T>
struct RowTerms {
  int64_t columns;
  const T* x;  // [rows, columns]
  __device__ double operator()(int64_t row, int64_t i) const {
    return static_cast<double>(x[row * columns + i]);
  }
};

template <class T>
struct ProductTerms {
  int64_t columns;
  const T *a, *b;  // [rows, columns]
  __device__ double operator()(int64_t row, int64_t i) const {
    return static_cast<double>(a[row * columns + i]) * static_cast<double>(b[row * columns + i]);
  }
};

/// The axes of cpu::Groups, split into those that number the row and those that number the term.
template <class T>
struct GroupTerms {
  struct Axes {
    int count = 0;
    LongDivisor size[8];
    int64_t stride[8];
    __device__ int64_t offset(int64_t index) const {
      int64_t at = 0;
      for (int axis = count - 1; axis > 0; --axis) {
        const int64_t outer = size[axis].quotient(index);
        at += size[axis].remainder(index, outer) * stride[axis];
        index = outer;
      }
      return count > 0 ? at + index * stride[0] : 0;
    }
  };
  Axes row, term;
  const T* x;
  __device__ double operator()(int64_t r, int64_t i) const {
    return static_cast<double>(x[row.offset(r) + term.offset(i)]);
  }
};

/// How many terms one team sums up; longer rows are cut into pieces whose sums are summed up in turn.
constexpr int64_t piece = 8192;

// Every thread of a team adds up terms a team's size apart, then the team's sums are combined as a butterfly.
// A row of more than `length` terms is cut: y is [rows, pieces].
template <class Team, class Terms, class Out>
__global__ void sum_kernel(int64_t rows, int64_t columns, int64_t length, int64_t pieces, Terms terms,
                           Out* y) {
  for (int64_t at = Team::first_row(); at < rows * pieces; at += Team::row_stride()) {
    const int64_t row = at / pieces, begin = (at - row * pieces) * length;
    const int64_t end = begin + length < columns ? begin + length : columns;
    double sum = 0;
    for (int64_t i = begin + Team::rank(); i < end; i += Team::size()) sum += terms(row, i);
    sum = Team::reduce(sum, 0.0, Plus{});
    if (Team::rank() == 0) y[at] = static_cast<Out>(sum);
  }
}

/// y [rows] = sum over i < columns of terms(row, i).
template <class Terms, class Out>
void sum_terms(int64_t rows, int64_t columns, Terms terms, Out* y) {
  const int64_t pieces = blocks_for(columns, piece);
  if (pieces <= 1) {
    launch(for_warp(columns) ? sum_kernel<Warp, Terms, Out> : sum_kernel<Block, Terms, Out>,
           grid_of_rows(rows, columns), block_size, 0, rows, columns, piece, int64_t{1}, terms, y);
    return;
  }
  const Scratch<double> partial(rows * pieces);
  launch(sum_kernel<Block, Terms, double>, grid_of_blocks(rows * pieces), block_size, 0, rows, columns, piece,
         pieces, terms, partial.data());
  sum_terms(rows, pieces, RowTerms<double>{pieces, partial.data()}, y);
}

constexpr int tile_columns = 32, tile_rows = 8;

// A block of 32 x 8 threads owns 32 columns of a piece of the rows: each row of threads walks down the rows
// eight apart, coalesced, and the eight sums of a column are added in order. x is [batch, rows, columns], y
// [batch, pieces, columns].
template <class T, class Out>
__global__ void sum_columns_kernel(int64_t batch, int64_t rows, int64_t columns, int64_t length,
                                   int64_t pieces, const T* x, Out* y) {
  GPU_SHARED(double, partial, [tile_rows][tile_columns]);
  const int64_t strips = (columns + tile_columns - 1) / tile_columns;
  for (int64_t at = blockIdx.x; at < batch * pieces * strips; at += gridDim.x) {
    const int64_t b_and_piece = at / strips, b = b_and_piece / pieces;
    const int64_t column = (at - b_and_piece * strips) * tile_columns + threadIdx.x;
    const int64_t begin = (b_and_piece - b * pieces) * length,
                  end = begin + length < rows ? begin + length : rows;
    double sum = 0;
    if (column < columns)
      for (int64_t row = begin + threadIdx.y; row < end; row += tile_rows)
        sum += static_cast<double>(x[(b * rows + row) * columns + column]);
    partial[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && column < columns) {
      for (int k = 1; k < tile_rows; ++k) sum += partial[k][threadIdx.x];
      y[b_and_piece * columns + column] = static_cast<Out>(sum);
    }
    __syncthreads();  // partial may be written again
  }
}

/// y [batch, columns] = sum over the rows of x [batch, rows, columns].
template <class T, class Out>
void sum_middle(int64_t batch, int64_t rows, int64_t columns, const T* x, Out* y) {
  constexpr int64_t length = 512;
  const int64_t pieces = std::max<int64_t>(1, blocks_for(rows, length));
  const int64_t blocks = grid_for(batch * pieces * blocks_for(columns, tile_columns), 1);
  const dim3 threads(tile_columns, tile_rows);
  if (pieces == 1) {
    launch(sum_columns_kernel<T, Out>, blocks, threads, 0, batch, rows, columns, length, pieces, x, y);
    return;
  }
  const Scratch<double> partial(batch * pieces * columns);
  launch(sum_columns_kernel<T, double>, blocks, threads, 0, batch, rows, columns, length, pieces, x,
         partial.data());
  sum_middle(batch, pieces, columns, partial.data(), y);
}

/// Any other pattern: each kept element is a row, whatever the distances between its terms.
template <class T>
void sum_scattered(const cpu::Groups& groups, int64_t copies, const T* x, T* y) {
  GroupTerms<T> terms{{}, {}, x};
  int64_t stride = 1, rows = copies, columns = 1, strides[8];
  for (int i = groups.count - 1; i >= 0; stride *= groups.size[i--]) strides[i] = stride;
  const auto add = [](typename GroupTerms<T>::Axes& axes, int64_t size, int64_t distance) {
    axes.size[axes.count] = LongDivisor(std::max<int64_t>(1, size));  // of no terms, or rows, none is divided
    axes.stride[axes.count++] = distance;
  };
  if (copies > 1) add(terms.row, copies, stride);
  for (int i = 0; i < groups.count; ++i) {
    add(groups.summed[i] ? terms.term : terms.row, groups.size[i], strides[i]);
    (groups.summed[i] ? columns : rows) *= groups.size[i];
  }
  sum_terms(rows, columns, terms, y);
}

// A team per row. NaN wins, then the larger, then the one further left: the same whatever the order of
// comparing.
template <class Team, class T>
__global__ void max_rows_kernel(int64_t rows, int64_t columns, const T* x, T* maximum, int64_t* argmax) {
  for (int64_t row = Team::first_row(); row < rows; row += Team::row_stride()) {
    const T* p = x + row * columns;  // [columns]
    const Candidate<T> none{INT64_MAX, -static_cast<T>(INFINITY)};
    Candidate<T> best = none;
    for (int64_t i = Team::rank(); i < columns; i += Team::size()) best = Best{}(best, Candidate<T>{i, p[i]});
    best = Team::reduce(best, none, Best{});
    if (Team::rank() != 0) continue;
    if (maximum) maximum[row] = best.value;
    if (argmax) argmax[row] = best.column;
  }
}

// One thread per element of y; every element is written once, so y need not be cleared before.
template <class T>
__global__ void place_in_rows_kernel(int64_t n, LongDivisor columns, const int64_t* column, const T* x,
                                     T* y) {
  for (int64_t i = grid_rank(); i < n; i += grid_threads()) {
    const int64_t row = columns.quotient(i);
    y[i] = columns.remainder(i, row) == column[row] ? x[row] : T{0};
  }
}

}  // namespace

template <class T>
void sum(int64_t n, const T* x, T* y) {
  sum_rows(1, n, x, y);
}

template <class T>
void sum_rows(int64_t rows, int64_t columns, const T* x, T* y) {
  sum_terms(rows, columns, RowTerms<T>{columns, x}, y);
}

template <class T>
void sum_columns(int64_t rows, int64_t columns, const T* x, T* y) {
  sum_middle(1, rows, columns, x, y);
}

template <class T>
void sum_channels(int64_t batch, int64_t channels, int64_t pixels, const T* x, T* y) {
  sum_scattered(cpu::Groups{3, {batch, channels, pixels}, {true, false, true}}, 1, x, y);
}

template <class T>
void sum_groups(const cpu::Groups& groups, int64_t copies, const T* x, T* y) {
  const int64_t* size = groups.size;
  const bool first = groups.count > 0 && groups.summed[0];
  const int64_t outer = first ? copies : copies * size[0];  // one kept group in front of the first sum
  const int64_t* from = first ? size : size + 1;
  const int count = groups.count - (first ? 0 : 1);  // sum, kept, sum, ... from there on
  if (groups.count > 0 && count == 1)
    sum_rows(outer, from[0], x, y);
  else if (groups.count > 0 && count == 2)
    sum_middle(outer, from[0], from[1], x, y);
  else
    sum_scattered(groups, copies, x, y);
}

template <class T>
void dot_rows(int64_t rows, int64_t columns, const T* a, const T* b, T* y) {
  sum_terms(rows, columns, ProductTerms<T>{columns, a, b}, y);
}

template <class T>
void max_rows(int64_t rows, int64_t columns, const T* x, T* maximum, int64_t* argmax) {
  check(columns >= 1, "max_rows: rows of {} elements have no maximum", columns);
  launch(for_warp(columns) ? max_rows_kernel<Warp, T> : max_rows_kernel<Block, T>,
         grid_of_rows(rows, columns), block_size, 0, rows, columns, x, maximum, argmax);
}

template <class T>
void place_in_rows(int64_t rows, int64_t columns, const int64_t* column, const T* x, T* y) {
  const int64_t n = rows * columns;
  if (n == 0) return;
  launch(place_in_rows_kernel<T>, grid_for(n), block_size, 0, n, LongDivisor(columns), column, x, y);
}

#define INSTANTIATE(T)                                                 \
  template void sum(int64_t, const T*, T*);                            \
  template void sum_rows(int64_t, int64_t, const T*, T*);              \
  template void sum_columns(int64_t, int64_t, const T*, T*);           \
  template void sum_channels(int64_t, int64_t, int64_t, const T*, T*); \
  template void sum_groups(const cpu::Groups&, int64_t, const T*, T*); \
  template void dot_rows(int64_t, int64_t, const T*, const T*, T*);    \
  template void max_rows(int64_t, int64_t, const T*, T*, int64_t*);    \
  template void place_in_rows(int64_t, int64_t, const int64_t*, const T*, T*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace hashgrad::HASHGRAD_GPU
