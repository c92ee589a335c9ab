// The packing stages of a convolution, and the small pooling that is fused behind it.
#include "cpu/kernels.h"
#include "cpu/kernels/simd.h"

namespace hashgrad::cpu::HASHGRAD_ISA {
namespace {

// At most 32 bytes, so that two image rows cover a vector even for images 8 pixels wide.
template <class T>
using Pixels = Simd < T,
      vector_bytes<32 ? vector_bytes : 32>;
template <class T>
constexpr int nr = 2 * Simd<T>::lanes;

/// The two-row read of a PixelVector, its mask made once and used for every tap.
template <class T>
struct Reader {
  using V = typename Pixels<T>::Vector;
  using Mask = decltype(V{} < V{});
  Mask from_first;
  const T *first, *second;

  [[gnu::always_inline]] void aim(const T* image, const PixelVector& pixels) {
    first = image + pixels.first;
    second = image + pixels.second;
    Mask lane;
#pragma GCC unroll 8
    for (int i = 0; i < Pixels<T>::lanes; ++i) lane[i] = i;
    from_first = lane < static_cast<decltype(lane[0] + 0)>(pixels.split);
  }
  [[gnu::always_inline]] V operator()(int64_t offset) const {
    return from_first ? load<V>(first + offset) : load<V>(second + offset);
  }
};

template <class T>
void unfold_pixels(const Unfold<T>& u) {
  constexpr int lanes = Pixels<T>::lanes, vectors = nr<T> / lanes;
  T* out = u.panels;
  for (int64_t p = 0; p < u.pixel_count; p += nr<T>) {
    if (!u.pixels) {
      for (int64_t k = 0; k < u.tap_count; ++k, out += nr<T>)
        for (int64_t i = 0; i < nr<T>; ++i) out[i] = u.image[u.pixel_offsets[p + i] + u.tap_offsets[k]];
      continue;
    }
    Reader<T> read[vectors];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) read[v].aim(u.image, u.pixels[p / lanes + v]);
    for (int64_t k = 0; k < u.tap_count; ++k, out += nr<T>) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) store(out + v * lanes, read[v](u.tap_offsets[k]));
    }
  }
}

template <class T>
void unfold_taps(const Unfold<T>& u) {
  constexpr int lanes = Pixels<T>::lanes;
  T* out = u.panels;
  for (int64_t t = 0; t < u.tap_count; t += nr<T>, out += nr<T> * u.pixel_count) {
    const int64_t* taps = u.tap_offsets + t;
    int64_t p = 0;
    for (; u.pixels && p + lanes <= u.pixel_count; p += lanes) {
      Reader<T> read;
      read.aim(u.image, u.pixels[p / lanes]);
      for (int lane = 0; lane < nr<T>; lane += lanes) {
        typename Pixels<T>::Vector rows[lanes];
#pragma GCC unroll 8
        for (int i = 0; i < lanes; ++i) rows[i] = read(taps[lane + i]);
        transpose(rows);
#pragma GCC unroll 8
        for (int i = 0; i < lanes; ++i) store(out + (p + i) * nr<T> + lane, rows[i]);
      }
    }
    for (; p < u.pixel_count; ++p)
      for (int64_t i = 0; i < nr<T>; ++i) out[p * nr<T> + i] = u.image[u.pixel_offsets[p] + taps[i]];
  }
}

/// The larger of two and where it was; a later one wins only when greater or NaN.
template <class V, class Index>
[[gnu::always_inline]] inline void keep_larger(V x, Index at, V& best, Index& where) {
  const auto wins = (x > best) | (x != x);
  best = wins ? x : best;
  where = wins ? at : where;
}

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

template <class T>
constexpr Conv2dKernels<T> table{Pixels<T>::lanes, unfold_pixels<T>, unfold_taps<T>, pool_2x2<T>};

}  // namespace

extern const PerType<Conv2dKernels> conv2d_kernels_table{table<float>, table<double>};

}  // namespace hashgrad::cpu::HASHGRAD_ISA
