// The gradients of a convolution, as products with operands read from the image and from the gradient in
// place.
#include "cuda/channel_sums.h"
#include "cuda/conv2d.h"
#include "cuda/conv2d_operands.h"
#include "cuda/matrix.h"

namespace hashgrad::HASHGRAD_GPU {
namespace {

/// Writes the input gradient at the pixels of one phase: dx [images, channels, height, width].
template <class T>
struct InputGradientSink {
  T* dx;
  int64_t channels;
  int height, width, stride, first_y, first_x, pixels;  // pixels: columns of the product
  PixelOrder inputs;

  template <int count>
  struct Column {
    int64_t offset[count];
    int valid;
  };
  template <int count>
  __device__ Column<count> column(int64_t j) const {
    const int first = static_cast<int>(j);
    Column<count> column{};
    column.valid = pixels - first < count ? pixels - first : count;
    GPU_UNROLL
    for (int v = 0; v < count; ++v)
      if (v < column.valid) {
        const Pixel p = inputs.locate(first + v);
        column.offset[v] =
            (p.image * channels * height + first_y + p.y * stride) * width + first_x + p.x * stride;
      }
    return column;
  }
  template <int count>
  __device__ void put(int64_t row, const Column<count>& column, int, const Pack<T, count>& values) const {
    GPU_UNROLL
    for (int v = 0; v < count; ++v)
      if (v < column.valid) dx[row * height * width + column.offset[v]] = values.at[v];
  }
};

/// One term of the bias gradient.
template <class T>
struct BiasTerm {
  SeenGradient<T> gradient;
  PixelOrder outputs;
  __device__ void operator()(int64_t image, int64_t channel, int64_t pixel, double (&sums)[1]) const {
    const Pixel p = outputs.locate(static_cast<int>(pixel));
    const auto place = gradient.place(p.y, p.x);
    const int64_t at = gradient.image(image) + channel * gradient.plane + place.offset;
    if (place.inside) sums[0] += static_cast<double>(gradient.value(at, at, place.position));
  }
};

template <class T>
struct StoreSum {
  T* to;
  __device__ void operator()(int64_t channel, const double (&sums)[1]) const {
    to[channel] = static_cast<T>(sums[0]);
  }
};

constexpr unsigned input_forms =
    bit(Form::big) | bit(Form::mid) | bit(Form::low) | bit(Form::flat) | bit(Form::thin) | tensor_forms;
constexpr unsigned weight_forms = bit(Form::big) | bit(Form::mid) | bit(Form::tensor_mid);

/// dx at the pixels of one phase: weight^T [channels, (output channel, taps)] times the gradient around each
/// pixel.
template <class T>
void input_gradient(const cpu::Conv2dShape& s, const Phase& phase, const T* weight,
                    const SeenGradient<T>& gradient, int64_t images, T* dx) {
  const int64_t pixels = phase.pixels(), group = images_per_launch(std::max<int64_t>(1, pixels));
  const int depth = static_cast<int>(s.out_channels) * phase.taps_y * phase.taps_x;
  const TurnedWeight<T> a(s, phase, weight);
  for (int64_t n = 0; n < images && pixels > 0; n += group) {
    const int64_t columns = std::min(group, images - n) * pixels;
    const GradientPatches<T> b(s, phase, gradient, static_cast<int>(n));
    const InputGradientSink<T> to{dx + n * s.in_channels * s.in_pixels(),
                                  s.in_channels,
                                  static_cast<int>(s.height),
                                  static_cast<int>(s.width),
                                  static_cast<int>(s.stride),
                                  phase.first_y,
                                  phase.first_x,
                                  static_cast<int>(columns),
                                  PixelOrder(phase.height, phase.width, false)};
    // One to three channels of an image would fill a tenth of the rows of a square tile.
    const bool thin = s.in_channels <= 4 && !on_tensor_cores<input_forms, T>();
    const Form form = thin ? Form::thin : choose_form<input_forms, T>(s.in_channels, columns, 1).form;
    launch_form<input_forms>(form, {s.in_channels, columns, depth, std::max(depth, 1), 1, 0, 0}, 1, a, b, to);
  }
}

/// Into how many parts the pixels of the batch are cut, so that the products of a weight gradient, which has
/// few elements, fill a device: a function of the shape, at least 512 pixels each.
int64_t weight_parts(const cpu::Conv2dShape& s, int64_t pixels) {
  const int64_t tiles = tiles_of(s.out_channels, s.depth(), 64, 64);
  return std::clamp<int64_t>(4 * enough_blocks / tiles, 1, std::max<int64_t>(1, pixels / 512));
}

/// dweight [out_channels, taps] = gradient [out_channels, pixels] * windows [pixels, taps].
template <class T>
void weight_gradient(const cpu::Conv2dShape& s, const T* x, const cpu::Conv2dGradient<T>& gradient,
                     T* dweight) {
  const int64_t group = images_per_launch(s.out_pixels()), m = s.out_channels, taps = s.depth();
  for (int64_t n = 0; n < s.batch; n += group) {
    const int64_t pixels = std::min(group, s.batch - n) * s.out_pixels(), parts = weight_parts(s, pixels);
    const int part = static_cast<int>(blocks_for(blocks_for(pixels, parts), 32) * 32);
    SeenGradient<T> seen(s, gradient);
    const int64_t stored = n * m * seen.plane;
    seen.dy += stored;
    if (seen.output) seen.output += stored;
    if (seen.argmax) seen.argmax += stored;
    const Unfolding<T> images(s, x + n * s.in_channels * s.in_pixels(), false);
    multiply<weight_forms>(m, taps, static_cast<int>(pixels), part, GradientRows<T>(s, seen),
                           TapMajor<T>(images), dweight, taps, cpu::Epilogue<T>{.accumulate = n > 0});
  }
}

}  // namespace

template <class T>
void conv2d_backward_input(const cpu::Conv2dShape& s, const T* weight, const cpu::Conv2dGradient<T>& gradient,
                           T* dx, int64_t copies) {
  cpu::check_conv2d(s);
  check_addressable(s);
  check(s.batch * copies < int64_t{1} << 31, "conv2d: {} images in a batch are too many", s.batch * copies);
  if (s.batch == 0) return;
  for (int64_t py = 0; py < s.stride; ++py)
    for (int64_t px = 0; px < s.stride; ++px)
      input_gradient(s, Phase(s, py, px), weight, SeenGradient<T>(s, gradient), s.batch * copies, dx);
}

template <class T>
void conv2d_backward_weight(const cpu::Conv2dShape& s, const T* x, const cpu::Conv2dGradient<T>& gradient,
                            T* dweight, T* dbias) {
  cpu::check_conv2d(s);
  check_addressable(s);
  const size_t element = sizeof(T);
  if (dweight && s.batch == 0)
    set_bytes(dweight, 0, static_cast<size_t>(s.out_channels * s.depth()) * element);
  if (dbias && s.batch == 0) set_bytes(dbias, 0, static_cast<size_t>(s.out_channels) * element);
  if (s.batch == 0) return;
  if (dweight) weight_gradient(s, x, gradient, dweight);
  if (dbias)
    channel_sums<1>(
        ChannelSums(s.batch, s.out_channels, s.out_pixels()),
        BiasTerm<T>{SeenGradient<T>(s, gradient), PixelOrder(s.out_height(), s.out_width(), false)},
        StoreSum<T>{dbias});
}

#define INSTANTIATE(T)                                                                                       \
  template void conv2d_backward_input(const cpu::Conv2dShape&, const T*, const cpu::Conv2dGradient<T>&, T*,  \
                                      int64_t);                                                              \
  template void conv2d_backward_weight(const cpu::Conv2dShape&, const T*, const cpu::Conv2dGradient<T>&, T*, \
                                       T*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace hashgrad::HASHGRAD_GPU
