// The input gradient of a convolution of few input channels (cpu/few_channels_kernels.h). While the gradients
// of all outputs pass, read where they lie, registers hold the sums of a band of rows for each column of the
// kernel apart: so every read is one of whole vectors, nothing is masked, and only finished sums are shifted.
#include "cpu/few_channels_kernels.h"
#include "cpu/kernels/simd.h"

namespace hashgrad::cpu::HASHGRAD_ISA {
namespace {

template <class T>
constexpr int lanes = Simd<T>::lanes;

/// Rows of a band: its sums, the gradients that they look at and a weight fit the registers.
constexpr int band_rows(int side, int channels) {
  const int registers = vector_bytes == 64 ? 32 : 16, fit = (registers - side) / (side * channels + 1);
  return fit < 1 ? 1 : fit > 4 ? 4 : fit;
}

/// The sums of a band's rows, from row y on: of all columns, for each column of the kernel and each channel,
/// with a margin on both sides.
template <class T, int side, int channels>
struct Band {
  static constexpr int rows = band_rows(side, channels), around = side / 2;
  static_assert(side * channels * rows <= FewChannels<T>::most_sums);
  const FewChannels<T>& f;
  int64_t y;

  /// Where the sum of column x lies; that of kernel column q belongs to column x + q - around of dx.
  T* at(int q, int c, int i, int64_t x) const {
    return f.sums + ((q * channels + c) * rows + i) * (f.width + 2 * lanes<T>)+lanes<T> + x;
  }
};

/// A row of the gradients from one output to the next, or one of zeros outside of the plane.
template <class T>
struct Row {
  const T* at;
  int64_t step;
};

/// A vector of columns from x on.
template <class T, int side, int channels>
[[gnu::noinline]] void sum_tile(const Band<T, side, channels>& b, int64_t x) {
  using V = Vector<T>;
  constexpr int rows = Band<T, side, channels>::rows, around = side / 2, outer = 2 * around;
  constexpr int64_t ahead = 2 * rows + around;  // gradients come from memory while sums go on
  static const T zeros[lanes<T>] = {};
  const FewChannels<T>& f = b.f;
  const T *w = f.weight, *dy = f.dy + b.y * f.width + x;
  Row<T> edges[outer];  // those above the band, then those below
#pragma GCC unroll 4
  for (int i = 0; i < outer; ++i) {
    const int64_t down = i < around ? i - around : rows + i - around, y = b.y + down;
    edges[i] = y >= 0 && y < f.height ? Row<T>{dy + down * f.width, f.height * f.width} : Row<T>{zeros, 0};
  }
  V sums[side][channels][rows] = {};
  for (int64_t o = 0; o < f.out_channels; ++o, dy += f.height * f.width, w += channels * side * side) {
    V g[rows + outer];
#pragma GCC unroll 4
    for (int i = 0; i < outer; ++i) {
      g[i < around ? i : rows + i] = load<V>(edges[i].at);
      edges[i].at += edges[i].step;
    }
#pragma GCC unroll 4
    for (int i = 0; i < rows; ++i) {
      g[around + i] = load<V>(dy + i * f.width);
      __builtin_prefetch(dy + (ahead + i) * f.width, 0, 2);
    }
#pragma GCC unroll 5
    for (int r = 0; r < side; ++r)
#pragma GCC unroll 5
      for (int q = 0; q < side; ++q)
#pragma GCC unroll 3
        for (int c = 0; c < channels; ++c)
#pragma GCC unroll 4
          for (int i = 0; i < rows; ++i)
            sums[q][c][i] =
                add_product(sums[q][c][i], broadcast<V>(w[(c * side + outer - r) * side + q]), g[i + r]);
  }
#pragma GCC unroll 5
  for (int q = 0; q < side; ++q)
#pragma GCC unroll 3
    for (int c = 0; c < channels; ++c)
#pragma GCC unroll 4
      for (int i = 0; i < rows; ++i) store(b.at(q, c, i, x), sums[q][c][i]);
}

/// dx of the band's rows: the sums of the columns of the kernel, each in its place.
template <class T, int side, int channels>
void shift_and_add(const Band<T, side, channels>& b) {
  using V = Vector<T>;
  const FewChannels<T>& f = b.f;
  for (int c = 0; c < channels; ++c)
    for (int i = 0; i < b.rows; ++i)
      for (int64_t x = 0; x < f.width; x += lanes<T>) {
        V sum = load<V>(b.at(0, c, i, x + b.around));
        for (int q = 1; q < side; ++q) sum += load<V>(b.at(q, c, i, x + b.around - q));
        store_first(f.dx + (c * f.height + b.y + i) * f.width + x, sum, f.width - x);
      }
}

/// The last band, and the last vector of one, overlap those before: the same values are written twice.
template <class T, int side, int channels>
void few_channels(const FewChannels<T>& f) {
  using B = Band<T, side, channels>;
  for (int line = 0; line < side * channels * B::rows; ++line)  // the margins, which no sum reaches
    for (int64_t i = 0; i < B::around; ++i)
      *B{f, 0}.at(0, 0, line, -1 - i) = *B{f, 0}.at(0, 0, line, f.width + i) = 0;
  for (int64_t y = 0; y < f.height; y += B::rows) {
    const B band{f, y + B::rows <= f.height ? y : f.height - B::rows};
    for (int64_t x = 0; x < f.width; x += lanes<T>)
      sum_tile(band, x + lanes<T> <= f.width ? x : f.width - lanes<T>);
    shift_and_add(band);
  }
}

template <class T, int side>
void of_side(const FewChannels<T>& f) {
  if (f.channels == 1)
    few_channels<T, side, 1>(f);
  else if (f.channels == 2)
    few_channels<T, side, 2>(f);
  else
    few_channels<T, side, 3>(f);
}

template <class T>
void input_gradient(const FewChannels<T>& f) {
  f.side == 3 ? of_side<T, 3>(f) : of_side<T, 5>(f);
}

template <class T>
constexpr FewChannelsKernels<T> table{input_gradient<T>};

}  // namespace

extern const PerType<FewChannelsKernels> few_channels_kernels_table{table<float>, table<double>};

}  // namespace hashgrad::cpu::HASHGRAD_ISA
