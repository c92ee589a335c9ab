// y[channels, pixels] = weight [channels, depth] * windows [depth, pixels], with bias, ReLU and pooling as a
// tile leaves the registers.
//
// A first layer has 9 to 75 terms per output. It wastes nothing on the way: the last step of a tile
// multiplies only as many depths as there are, and the tile is chosen by the number of output channels (16 or
// 32 rows by 128 pixels).
#include "cuda/batch_norm.h"
#include "cuda/conv2d.h"
#include "cuda/conv2d_operands.h"
#include "cuda/matrix.h"

namespace hashgrad::HASHGRAD_GPU {

void check_addressable(const cpu::Conv2dShape& s) {
  constexpr int64_t limit = int64_t{1} << 30;
  check(s.in_channels * s.in_pixels() < limit && s.out_channels * s.out_pixels() < limit,
        "conv2d: images of {} x {} x {} elements with {} output channels are too large for this device",
        s.in_channels, s.height, s.width, s.out_channels);
  check(s.out_channels * s.kernel_h * s.kernel_w < limit && s.depth() <= 1 << 24 && s.padding < 1 << 24 &&
            (s.height + s.padding + s.kernel_h) * s.width < limit,
        "conv2d: {} x {} kernels of {} x {} with padding {} are too large for this device", s.out_channels,
        s.in_channels, s.kernel_h, s.kernel_w, s.padding);
}

namespace {

/// Rows of weights: P[output channel, tap].
template <class T>
struct WeightRows : Matrix<T, 1> {
  static constexpr Along along = Along::depth;
};

/// Writes outputs, with bias and ReLU: into y, or, when the pixels come as windows, the maximum of each and
/// its place.
template <class T>
struct OutputSink {
  T* y;
  uint8_t* argmax;
  const T* bias;
  bool relu;
  int64_t channels;
  int plane, pixels;  // outputs (or windows) in a plane, columns of the product
  Divisor images;     // plane
  bool windows, packs;

  template <int count>
  struct Column {
    int64_t offset[count];  // of the first channel; of a window: only [0]
    int valid;
  };
  __device__ int64_t offset(int place) const {
    const int image = images.quotient(place);
    return image * channels * plane + images.remainder(place, image);
  }
  template <int count>
  __device__ Column<count> column(int64_t j) const {
    const int first = static_cast<int>(j);
    Column<count> column{};
    column.valid = pixels - first < count ? pixels - first : count;
    GPU_UNROLL
    for (int v = 0; v < count; ++v)
      if (v < column.valid) column.offset[v] = offset(windows ? first / 4 : first + v);
    return column;
  }

  template <int count>
  __device__ void put(int64_t row, const Column<count>& column, int, Pack<T, count> values) const {
    const int64_t channel = row * plane;
    GPU_UNROLL
    for (int v = 0; v < count; ++v) {
      if (bias) values.at[v] += bias[row];
      if (relu && values.at[v] < 0) values.at[v] = T{0};
    }
    if (windows) return put_window(channel + column.offset[0], values);
    if (packs && column.valid == count) {
      *reinterpret_cast<Pack<T, count>*>(y + channel + column.offset[0]) = values;
      return;
    }
    GPU_UNROLL
    for (int v = 0; v < count; ++v)
      if (v < column.valid) y[channel + column.offset[v]] = values.at[v];
  }

  /// The first maximum; a NaN wins.
  template <int count>
  __device__ void put_window(int64_t at, const Pack<T, count>& values) const {
    static_assert(count == 4, "a thread must hold whole windows");
    T best = values.at[0];
    int place = 0;
    GPU_UNROLL
    for (int v = 1; v < count; ++v)
      if (values.at[v] > best || values.at[v] != values.at[v]) {
        best = values.at[v];
        place = v;
      }
    y[at] = best;
    if (argmax) argmax[at] = static_cast<uint8_t>(place);
  }
};

constexpr unsigned forms = bit(Form::big) | bit(Form::mid) | bit(Form::low) | bit(Form::flat) | tensor_forms;

template <class T>
void convolve(const cpu::Conv2dShape& s, const T* x, const T* weight, const T* bias, bool relu, bool windows,
              T* y, uint8_t* argmax) {
  check_addressable(s);
  const int64_t plane = windows ? s.out_height() / 2 * (s.out_width() / 2) : s.out_pixels();
  const int64_t pixels = windows ? 4 * plane : plane, group = images_per_launch(pixels);
  const int depth = static_cast<int>(s.depth());
  const WeightRows<T> a{{weight, s.depth(), 1}};
  for (int64_t n = 0; n < s.batch; n += group) {
    const int64_t columns = std::min(group, s.batch - n) * pixels, out = n * s.out_channels * plane;
    const PixelMajor<T> b(Unfolding<T>(s, x + n * s.in_channels * s.in_pixels(), windows));
    const bool packs = !windows && plane % 4 == 0 && reinterpret_cast<uintptr_t>(y + out) % 16 == 0;
    const OutputSink<T> to{y + out,
                           argmax ? argmax + out : nullptr,
                           bias,
                           relu,
                           s.out_channels,
                           static_cast<int>(plane),
                           static_cast<int>(columns),
                           Divisor(plane),
                           windows,
                           packs};
    const FormSize f = choose_form<forms, T>(s.out_channels, columns, 1);
    launch_form<forms>(f.form, {s.out_channels, columns, depth, depth, 1, 0, 0}, 1, a, b, to);
  }
}

}  // namespace

template <class T>
void conv2d_forward(const cpu::Conv2dShape& shape, const T* x, const T* weight, const T* bias, bool relu,
                    T* y) {
  cpu::check_conv2d(shape);
  convolve(shape, x, weight, bias, relu, false, y, nullptr);
}

template <class T>
void conv2d_norm_forward(const cpu::Conv2dShape& shape, const T* x, const T* weight, const T* bias,
                         const cpu::Conv2dNorm<T>& norm, T* y) {
  HASHGRAD_GPU::conv2d_forward(shape, x, weight, bias, false, y);
  HASHGRAD_GPU::batch_norm_forward<T>({shape.batch, shape.out_channels, shape.out_pixels()}, y, norm.mean,
                                      norm.variance, norm.eps, norm.gamma, norm.beta, norm.added, norm.relu,
                                      y);
}

template <class T>
void conv2d_relu_pool_forward(const cpu::Conv2dShape& shape, const T* x, const T* weight, const T* bias,
                              T* pooled, uint8_t* argmax) {
  cpu::check_conv2d(shape);
  check(shape.out_height() >= 2 && shape.out_width() >= 2,
        "conv2d_relu_pool: output {} x {} is smaller than the 2 x 2 window", shape.out_height(),
        shape.out_width());
  convolve(shape, x, weight, bias, true, true, pooled, argmax);
}

#define INSTANTIATE(T)                                                                           \
  template void conv2d_forward(const cpu::Conv2dShape&, const T*, const T*, const T*, bool, T*); \
  template void conv2d_norm_forward(const cpu::Conv2dShape&, const T*, const T*, const T*,       \
                                    const cpu::Conv2dNorm<T>&, T*);                              \
  template void conv2d_relu_pool_forward(const cpu::Conv2dShape&, const T*, const T*, const T*, T*, uint8_t*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace hashgrad::HASHGRAD_GPU
