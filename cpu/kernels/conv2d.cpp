// The packing stages of a convolution, and the small pooling that is fused behind it.
#include "cpu/kernels.h"
#include "cpu/kernels/larger.h"
#include "cpu/kernels/pixel_reader.h"
#include "cpu/kernels/simd.h"

namespace hashgrad::cpu::HASHGRAD_ISA {
namespace {

template <class T>
constexpr int nr = 2 * lanes<T>;

template <class T, int runs>
void unfold_panel(const Unfold<T>& u, const PixelVector* pixels, T* out) {
  Reader<T, runs> left, right;
  left.aim(u.image, pixels[0]);
  if (u.pixel_count <= lanes<T>) {  // no product reads the second vector
    for (int64_t k = 0; k < u.tap_count; ++k) store(out + k * nr<T>, left(u.tap_offsets[k]));
    return;
  }
  right.aim(u.image, pixels[lanes<T> / spacing<T>]);
  for (int64_t k = 0; k < u.tap_count; ++k, out += nr<T>) {
    store(out, left(u.tap_offsets[k]));
    store(out + lanes<T>, right(u.tap_offsets[k]));
  }
}

template <class T>
void unfold_pixels(const Unfold<T>& u) {
  T* out = u.panels;
  for (int64_t p = 0; p < u.pixel_count; p += nr<T>) {
    if (u.pixels) {
      for_runs<T>(u.runs, [&]<int runs>() { unfold_panel<T, runs>(u, u.pixels + p / spacing<T>, out); });
      out += u.tap_count * nr<T>;
      continue;
    }
    for (int64_t k = 0; k < u.tap_count; ++k, out += nr<T>)
      for (int64_t i = 0; i < nr<T>; ++i) out[i] = u.image[u.pixel_offsets[p + i] + u.tap_offsets[k]];
  }
}

/// Pixels from p on, at most a vector of them, by `lanes` taps: a square transposed in registers.
template <class T, int runs>
void unfold_square(const Unfold<T>& u, int64_t p, const int64_t* taps, T* out) {
  Reader<T, runs> read;
  read.aim(u.image, u.pixels[p / spacing<T>]);
  Vector<T> rows[lanes<T>];
#pragma GCC unroll 16
  for (int i = 0; i < lanes<T>; ++i) rows[i] = read(taps[i]);
  transpose(rows);
#pragma GCC unroll 16
  for (int i = 0; i < lanes<T>; ++i)
    if (p + i < u.pixel_count) store(out + i * nr<T>, rows[i]);
}

template <class T>
void unfold_taps(const Unfold<T>& u) {
  T* out = u.panels;
  for (int64_t t = 0; t < u.tap_count; t += nr<T>, out += nr<T> * u.pixel_count) {
    const int64_t* taps = u.tap_offsets + t;
    for (int64_t p = 0; !u.pixels && p < u.pixel_count; ++p)
      for (int64_t i = 0; i < nr<T>; ++i) out[p * nr<T> + i] = u.image[u.pixel_offsets[p] + taps[i]];
    for (int64_t p = 0; u.pixels && p < u.pixel_count; p += lanes<T>)
      for (int64_t lane = 0; lane < nr<T> && t + lane < u.tap_count; lane += lanes<T>)
        for_runs<T>(u.runs,
                    [&]<int runs>() { unfold_square<T, runs>(u, p, taps + lane, out + p * nr<T> + lane); });
  }
}

// Pooling reads vectors of at most 32 bytes, two of them for one of outputs.
constexpr int pool_bytes = vector_bytes < 32 ? vector_bytes : 32;
template <class T>
using Pixels = Simd<T, pool_bytes>;

template <class T>
void pool_row(const T* top, const T* bottom, int64_t ox, T* y, uint8_t* argmax) {
  using V = typename Pixels<T>::Vector;
  constexpr int lanes = Pixels<T>::lanes;
  using Index = decltype(V{} < V{});
  Index even{}, odd{};
#pragma GCC unroll 8
  for (int i = 0; i < lanes; ++i) {
    even[i] = 2 * i;
    odd[i] = 2 * i + 1;
  }
  const V a = load<V>(top + 2 * ox), b = load<V>(top + 2 * ox + lanes);
  const V c = load<V>(bottom + 2 * ox), d = load<V>(bottom + 2 * ox + lanes);
  V best = __builtin_shuffle(a, b, even);
  Index where{};
  keep_larger(__builtin_shuffle(a, b, odd), Index{} + 1, best, where);
  keep_larger(__builtin_shuffle(c, d, even), Index{} + 2, best, where);
  keep_larger(__builtin_shuffle(c, d, odd), Index{} + 3, best, where);
  store(y + ox, best);
  if (argmax) {
    typedef uint8_t Bytes __attribute__((vector_size(lanes)));
    const Bytes bytes = __builtin_convertvector(where, Bytes);
    __builtin_memcpy(argmax + ox, &bytes, lanes);
  }
}

/// A row of fewer outputs than a vector has, by way of buffers.
template <class T>
void pool_short_row(const T* top, const T* bottom, int64_t out_width, T* y, uint8_t* argmax) {
  constexpr int lanes = Pixels<T>::lanes;
  T rows[2][2 * lanes] = {}, best[lanes];
  uint8_t where[lanes];
  for (int64_t i = 0; i < 2 * out_width; ++i) {
    rows[0][i] = top[i];
    rows[1][i] = bottom[i];
  }
  pool_row(rows[0], rows[1], 0, best, where);
  for (int64_t i = 0; i < out_width; ++i) y[i] = best[i];
  for (int64_t i = 0; argmax && i < out_width; ++i) argmax[i] = where[i];
}

template <class T>
void pool_2x2(int64_t height, int64_t width, const T* x, T* y, uint8_t* argmax) {
  constexpr int64_t lanes = Pixels<T>::lanes;
  const int64_t out_width = width / 2;
  for (int64_t oy = 0; oy < height / 2; ++oy, x += 2 * width, y += out_width) {
    // The last vector of a row overlaps the one before: the same values are written twice.
    for (int64_t ox = 0; out_width >= lanes && ox < out_width; ox += lanes)
      pool_row(x, x + width, ox + lanes <= out_width ? ox : out_width - lanes, y, argmax);
    if (out_width < lanes) pool_short_row(x, x + width, out_width, y, argmax);
    if (argmax) argmax += out_width;
  }
}

/// A row by vectors of so many bytes, of which the last overlaps the one before; false when it is too short.
template <class T, int bytes>
bool unpool_vectors(int64_t width, const T* dy, const T* y, const uint8_t* argmax, T* top, T* bottom) {
  using V = typename Simd<T, bytes>::Vector;
  constexpr int64_t lanes = Simd<T, bytes>::lanes;
  typedef uint8_t Bytes __attribute__((vector_size(lanes)));
  if (width < lanes) return false;
  for (int64_t start = 0; start < width; start += lanes) {
    const int64_t i = start + lanes <= width ? start : width - lanes;
    Bytes places;
    __builtin_memcpy(&places, argmax + i, sizeof places);
    const auto where = __builtin_convertvector(places, decltype(V{} < V{}));
    const V g = load<V>(y + i) > 0 ? load<V>(dy + i) : V{};
    store_interleaved(where == 0 ? g : V{}, where == 1 ? g : V{}, top + 2 * i);
    store_interleaved(where == 2 ? g : V{}, where == 3 ? g : V{}, bottom + 2 * i);
  }
  return true;
}

template <class T>
void unpool_2x2(int64_t width, const T* dy, const T* y, const uint8_t* argmax, T* top, T* bottom) {
  if (unpool_vectors<T, pool_bytes>(width, dy, y, argmax, top, bottom)) return;
  if (unpool_vectors<T, 16>(width, dy, y, argmax, top, bottom)) return;
  for (int64_t i = 0; i < width; ++i) {
    const T g = y[i] > 0 ? dy[i] : T{0};
    for (int side = 0; side < 2; ++side) {
      top[2 * i + side] = argmax[i] == side ? g : T{0};
      bottom[2 * i + side] = argmax[i] == 2 + side ? g : T{0};
    }
  }
}

template <class T, bool gated>
void copy_gated(int64_t height, int64_t width, const T* values, const T* output, T* to, int64_t stride) {
  using V = Vector<T>;
  for (int64_t y = 0; y < height; ++y, values += width, output += gated ? width : 0, to += stride) {
    int64_t x = 0;
    for (; x + lanes<T> <= width; x += lanes<T>) {
      const V v = load<V>(values + x);
      store(to + x, gated ? (load<V>(output + x) > 0 ? v : V{}) : v);
    }
    if (x == width) continue;
    const V v = load_first<V>(values + x, width - x);
    store_first(to + x, gated ? (load_first<V>(output + x, width - x) > 0 ? v : V{}) : v, width - x);
  }
}

template <class T>
void copy_plane(int64_t height, int64_t width, const T* values, const T* output, T* to, int64_t stride) {
  if (output)
    copy_gated<T, true>(height, width, values, output, to, stride);
  else
    copy_gated<T, false>(height, width, values, nullptr, to, stride);
}

template <class T>
void deal_plane(int64_t height, int64_t width, const T* values, int64_t apart, T* even, T* odd,
                int64_t stride) {
  using V = Vector<T>;
  constexpr int step = lanes<T>;
  decltype(V{} < V{}) evens{}, odds{};
#pragma GCC unroll 16
  for (int i = 0; i < step; ++i) {
    evens[i] = 2 * i;
    odds[i] = 2 * i + 1;
  }
  for (int64_t y = 0; y < height; ++y, values += apart) {
    for (int64_t x = 0; x < width; x += 2 * step) {
      const int64_t left = width - x, at = y * stride + x / 2;
      const V a = load_first<V>(values + x, left),
              b = left > step ? load_first<V>(values + x + step, left - step) : V{};
      if (even) store_first(even + at, __builtin_shuffle(a, b, evens), (left + 1) / 2);
      if (odd && left > 1) store_first(odd + at, __builtin_shuffle(a, b, odds), left / 2);
    }
  }
}

/// The opposite of dealing: out[x] = column x of a dealt row, from column `first` of it on; `width` of them.
template <class T>
void gather_row(const T* row, int64_t first, int64_t width, int64_t stride, int64_t phase, T* out) {
  using V = Vector<T>;
  constexpr int step = lanes<T>;
  const auto at = [&](int64_t x) { return row + (first + x) % stride * phase + (first + x) / stride; };
  decltype(V{} < V{}) low{}, high{};
#pragma GCC unroll 16
  for (int i = 0; i < step; ++i) {
    low[i] = i / 2 + i % 2 * step;
    high[i] = low[i] + step / 2;
  }
  const T *even = at(0), *odd = stride == 2 ? at(1) : even;
  for (int64_t x = 0, n = width; stride == 2 && x < width; x += 2 * step, n -= 2 * step) {
    const V a = load_first<V>(even + x / 2, (n + 1) / 2), b = n > 1 ? load_first<V>(odd + x / 2, n / 2) : V{};
    store_first(out + x, __builtin_shuffle(a, b, low), n);
    if (n > step) store_first(out + x + step, __builtin_shuffle(a, b, high), n - step);
  }
  for (int64_t x = 0; stride == 1 && x < width; x += step)
    store_first(out + x, load_first<V>(even + x, width - x), width - x);
  for (int64_t x = 0; stride > 2 && x < width; ++x) out[x] = *at(x);
}

template <class T>
void add_columns(const Conv2dColumns<T>& c) {
  using V = Vector<T>;
  const int64_t row = c.stride * c.phase, size = c.dealt_rows * row;
  for (int64_t i = 0; i < size; i += lanes<T>) store_first(c.dealt + i, V{}, size - i);
  const T* from = c.columns;
  for (int64_t r = 0; r < c.kernel_h; ++r)
    for (int64_t q = 0; q < c.kernel_w; ++q, from += c.column_step) {
      T* to = c.dealt + r * row + q % c.stride * c.phase + q / c.stride;
      for (int64_t y = 0; y < c.out_height; ++y)
        for (int64_t x = 0; x < c.out_width; x += lanes<T>) {
          const int64_t n = c.out_width - x;
          T* at = to + y * c.stride * row + x;
          store_first(at, load_first<V>(at, n) + load_first<V>(from + y * c.out_width + x, n), n);
        }
    }
  for (int64_t y = 0; y < c.height; ++y)
    gather_row(c.dealt + (y + c.padding) * row, c.padding, c.width, c.stride, c.phase, c.dx + y * c.width);
}

template <class T>
constexpr Conv2dKernels<T> table{lanes<T>,       spacing<T>,    unfold_pixels<T>,
                                 unfold_taps<T>, copy_plane<T>, deal_plane<T>,
                                 add_columns<T>, pool_2x2<T>,   unpool_2x2<T>};

}  // namespace

extern const PerType<Conv2dKernels> conv2d_kernels_table{table<float>, table<double>};

}  // namespace hashgrad::cpu::HASHGRAD_ISA
