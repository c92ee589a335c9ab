// Images and gradients of a convolution as operands of the product of cuda/product.h.
#pragma once

#include "cpu/conv2d.h"
#include "cuda/divisor.h"
#include "cuda/product.h"

namespace hashgrad::HASHGRAD_GPU {

struct Pixel {
  int image, y, x;
};

/// Pixels of several planes [height, width] in one sequence; or, as `windows`, those of their 2 x 2 windows,
/// four after four (an odd last row or column left out), so that a window's pixels are neighbours.
struct PixelOrder {
  Divisor plane, row;
  bool windows;

  PixelOrder(int64_t height, int64_t width, bool windows_)
      : plane(windows_ ? height / 2 * (width / 2) : height * width),
        row(windows_ ? width / 2 : width),
        windows(windows_) {}

  __device__ __forceinline__ Pixel locate(int number) const {
    const int place = windows ? number >> 2 : number, image = plane.quotient(place);
    const int rest = plane.remainder(place, image), y = row.quotient(rest), x = row.remainder(rest, y);
    if (!windows) return {image, y, x};
    return {image, 2 * y + (number >> 1 & 1), 2 * x + (number & 1)};
  }
};

/// Where taps meet images x [.., channels, height, width]: the value under tap k = (channel, r, q) of the
/// window whose output is a certain pixel; 0 in the padding.
template <class T>
struct Unfolding {
  const T* x;
  int channels, height, width, stride, padding;
  Divisor window, kernel_w;  // kernel_h * kernel_w, kernel_w
  PixelOrder outputs;

  Unfolding(const cpu::Conv2dShape& s, const T* x_, bool windows)
      : x(x_),
        channels(static_cast<int>(s.in_channels)),
        height(static_cast<int>(s.height)),
        width(static_cast<int>(s.width)),
        stride(static_cast<int>(s.stride)),
        padding(static_cast<int>(s.padding)),
        window(s.kernel_h * s.kernel_w),
        kernel_w(s.kernel_w),
        outputs(s.out_height(), s.out_width(), windows) {}

  struct Tap {
    int offset, r, q;
  };
  struct Corner {  // of a window, where the padding ends
    int64_t offset;
    int y, x;
  };
  __device__ __forceinline__ Tap tap(int k) const {
    const int c = window.quotient(k), rest = window.remainder(k, c);
    const int r = kernel_w.quotient(rest), q = kernel_w.remainder(rest, r);
    return {(c * height + r) * width + q, r, q};
  }
  __device__ __forceinline__ Corner corner(int number) const {
    const Pixel p = outputs.locate(number);
    const int top = p.y * stride - padding, left = p.x * stride - padding;
    return {int64_t{p.image} * channels * height * width + top * width + left, top, left};
  }
  __device__ __forceinline__ T value(const Corner& c, const Tap& t) const {
    const bool inside = static_cast<unsigned>(c.y + t.r) < static_cast<unsigned>(height) &&
                        static_cast<unsigned>(c.x + t.q) < static_cast<unsigned>(width);
    return inside ? x[c.offset + t.offset] : T{0};
  }
};

/// P[pixel, tap]: what a forward product reads. Neighbouring threads read neighbouring pixels.
template <class T>
struct PixelMajor : Unfolding<T> {
  using Element = T;
  using Row = typename Unfolding<T>::Corner;
  using Depth = typename Unfolding<T>::Tap;
  static constexpr int vector = 1;
  static constexpr bool copies = false;
  int first = 0;

  explicit PixelMajor(const Unfolding<T>& u) : Unfolding<T>(u) {}
  static constexpr Along along = Along::index;
  __device__ void move_to(int64_t to) { first = static_cast<int>(to); }
  __device__ Row row(int index) const { return this->corner(first + index); }
  __device__ Depth depth(int k) const { return this->tap(k); }
  __device__ Pack<T, 1> at(const Row& row, const Depth& depth) const { return {this->value(row, depth)}; }
};

/// P[tap, pixel]: the unfolded image the other way round, for the weight gradient.
template <class T>
struct TapMajor : Unfolding<T> {
  using Element = T;
  using Row = typename Unfolding<T>::Tap;
  using Depth = typename Unfolding<T>::Corner;
  static constexpr int vector = 1;
  static constexpr bool copies = false;
  int first = 0;

  explicit TapMajor(const Unfolding<T>& u) : Unfolding<T>(u) {}
  static constexpr Along along = Along::depth;
  __device__ void move_to(int64_t to) { first = static_cast<int>(to); }
  __device__ Row row(int index) const { return this->tap(first + index); }
  __device__ Depth depth(int k) const { return this->corner(k); }
  __device__ Pack<T, 1> at(const Row& row, const Depth& depth) const { return {this->value(depth, row)}; }
};

/// The gradient that arrives at a convolution, seen through what was fused behind it (see
/// cpu::Conv2dGradient): the value at an output of the convolution is read where the fused result lies.
template <class T>
struct SeenGradient {
  const T* dy;
  const T* output;
  const uint8_t* argmax;
  int channels, height, width, plane;  // of what is stored; plane = height * width

  SeenGradient(const cpu::Conv2dShape& s, const cpu::Conv2dGradient<T>& g)
      : dy(g.dy),
        output(g.output),
        argmax(g.argmax),
        channels(static_cast<int>(s.out_channels)),
        height(static_cast<int>(g.argmax ? s.out_height() / 2 : s.out_height())),
        width(static_cast<int>(g.argmax ? s.out_width() / 2 : s.out_width())),
        plane(height * width) {}

  struct Place {
    int offset;    // in the stored plane
    int position;  // 2 * row + column in the window
    bool inside;   // false in an odd last row or column, which pooling drops
  };
  __device__ __forceinline__ Place place(int y, int x) const {
    if (!argmax) return {y * width + x, 0, true};
    return {(y >> 1) * width + (x >> 1), 2 * (y & 1) + (x & 1), (y >> 1) < height && (x >> 1) < width};
  }
  __device__ __forceinline__ int64_t image(int64_t n) const { return n * channels * plane; }
  /// dy at that offset, where ReLU and pooling let it through.
  __device__ __forceinline__ T value(int64_t dy_at, int64_t output_at, int position) const {
    if (output && !(output[output_at] > 0)) return T{0};
    if (argmax && argmax[output_at] != position) return T{0};
    return dy[dy_at];
  }
};

/// One of the stride^2 sets of input pixels that meet the same taps: rows y with (y + padding) % stride =
/// phase_y meet the taps r = phase_y + i * stride only, under the outputs (y + padding) / stride - i. Columns
/// likewise. Each set is a convolution of the gradient with stride 1, and none multiplies zeros between
/// strides.
struct Phase {
  int first_y, first_x;  // first input row and column
  int height, width;     // rows and columns of the set
  int out_y, out_x;      // output over the first of them under tap i = 0
  int taps_y, taps_x;    // how many taps
  int phase_y, phase_x;

  Phase(const cpu::Conv2dShape& s, int64_t py, int64_t px) {
    const auto axis = [&](int64_t phase, int64_t extent, int64_t kernel, int& first, int& count, int& out,
                          int& taps) {
      const int64_t start = ((phase - s.padding) % s.stride + s.stride) % s.stride;
      first = static_cast<int>(start);
      count = static_cast<int>(start < extent ? blocks_for(extent - start, s.stride) : 0);
      out = static_cast<int>((start + s.padding - phase) / s.stride);
      taps = static_cast<int>(phase < kernel ? blocks_for(kernel - phase, s.stride) : 0);
    };
    axis(py, s.height, s.kernel_h, first_y, height, out_y, taps_y);
    axis(px, s.width, s.kernel_w, first_x, width, out_x, taps_x);
    phase_y = static_cast<int>(py);
    phase_x = static_cast<int>(px);
  }
  int64_t pixels() const { return int64_t{height} * width; }
};

/// k = (output channel, i, j) of the taps of a phase; divisors of at least 1 for sets without taps.
struct PhaseTaps {
  Divisor window, row;
  explicit PhaseTaps(const Phase& p) : window(std::max(1, p.taps_y * p.taps_x)), row(std::max(1, p.taps_x)) {}

  struct Tap {
    int channel, i, j;
  };
  __device__ __forceinline__ Tap locate(int k) const {
    const int channel = window.quotient(k), rest = window.remainder(k, channel), i = row.quotient(rest);
    return {channel, i, row.remainder(rest, i)};
  }
};

/// P[input channel, (output channel, i, j)] of weight [out, in, kernel_h, kernel_w].
template <class T>
struct TurnedWeight {
  using Element = T;
  using Row = int;
  using Depth = int64_t;
  static constexpr int vector = 1;
  static constexpr bool copies = false;

  const T* weight;
  int in_channels, kernel_h, kernel_w, stride, phase_y, phase_x;
  PhaseTaps taps;
  int first = 0;

  TurnedWeight(const cpu::Conv2dShape& s, const Phase& p, const T* w)
      : weight(w),
        in_channels(static_cast<int>(s.in_channels)),
        kernel_h(static_cast<int>(s.kernel_h)),
        kernel_w(static_cast<int>(s.kernel_w)),
        stride(static_cast<int>(s.stride)),
        phase_y(p.phase_y),
        phase_x(p.phase_x),
        taps(p) {}

  static constexpr Along along = Along::depth;
  __device__ void move_to(int64_t to) { first = static_cast<int>(to); }
  __device__ Row row(int index) const { return (first + index) * kernel_h * kernel_w; }
  __device__ Depth depth(int k) const {
    const auto [channel, i, j] = taps.locate(k);
    return int64_t{channel} * in_channels * kernel_h * kernel_w + (phase_y + i * stride) * kernel_w +
           phase_x + j * stride;
  }
  __device__ Pack<T, 1> at(Row row, Depth depth) const { return {weight[row + depth]}; }
};

/// P[input pixel, (output channel, i, j)] of the gradient: what the input gradient is made of.
template <class T>
struct GradientPatches {
  using Element = T;
  struct Row {
    int64_t dy_image, output_image;
    int y, x;
  };
  using Depth = PhaseTaps::Tap;
  static constexpr int vector = 1;
  static constexpr bool copies = false;

  SeenGradient<T> gradient;
  PhaseTaps taps;
  PixelOrder inputs;
  Divisor batch;  // of output and argmax: dy may hold several cotangents, one after the other
  int first_image, out_y, out_x, out_height, out_width;
  int first = 0;

  GradientPatches(const cpu::Conv2dShape& s, const Phase& p, const SeenGradient<T>& g, int first_image_)
      : gradient(g),
        taps(p),
        inputs(p.height, p.width, false),
        batch(s.batch),
        first_image(first_image_),
        out_y(p.out_y),
        out_x(p.out_x),
        out_height(static_cast<int>(s.out_height())),
        out_width(static_cast<int>(s.out_width())) {}

  static constexpr Along along = Along::index;
  __device__ void move_to(int64_t to) { first = static_cast<int>(to); }
  __device__ Row row(int index) const {
    const Pixel p = inputs.locate(first + index);
    const int image = first_image + p.image, in_batch = batch.remainder(image, batch.quotient(image));
    return {gradient.image(image), gradient.image(in_batch), p.y + out_y, p.x + out_x};
  }
  __device__ Depth depth(int k) const { return taps.locate(k); }
  __device__ Pack<T, 1> at(const Row& row, const Depth& tap) const {
    const int y = row.y - tap.i, x = row.x - tap.j;
    const bool exists = static_cast<unsigned>(y) < static_cast<unsigned>(out_height) &&
                        static_cast<unsigned>(x) < static_cast<unsigned>(out_width);
    const auto place = gradient.place(y, x);
    if (!exists || !place.inside) return {T{0}};
    const int offset = tap.channel * gradient.plane + place.offset;
    return {gradient.value(row.dy_image + offset, row.output_image + offset, place.position)};
  }
};

/// P[output channel, pixel] of the gradient, the left side of the weight gradient.
template <class T>
struct GradientRows {
  using Element = T;
  using Row = int;
  struct Depth {
    int64_t offset;
    int position;
    bool inside;
  };
  static constexpr int vector = 1;
  static constexpr bool copies = false;

  SeenGradient<T> gradient;
  PixelOrder outputs;
  int first = 0;

  GradientRows(const cpu::Conv2dShape& s, const SeenGradient<T>& g)
      : gradient(g), outputs(s.out_height(), s.out_width(), false) {}

  static constexpr Along along = Along::depth;
  __device__ void move_to(int64_t to) { first = static_cast<int>(to); }
  __device__ Row row(int index) const { return (first + index) * gradient.plane; }
  __device__ Depth depth(int k) const {
    const Pixel p = outputs.locate(k);
    const auto place = gradient.place(p.y, p.x);
    return {gradient.image(p.image) + place.offset, place.position, place.inside};
  }
  __device__ Pack<T, 1> at(Row row, const Depth& d) const {
    if (!d.inside) return {T{0}};
    return {gradient.value(d.offset + row, d.offset + row, d.position)};
  }
};

/// How many images one launch takes, so that their pixels can be numbered with 32 bits.
inline int64_t images_per_launch(int64_t pixels) { return std::max<int64_t>(1, (int64_t{1} << 30) / pixels); }

/// An Error unless one image, one output and the weights can be addressed with 32 bits.
void check_addressable(const cpu::Conv2dShape& shape);

}  // namespace hashgrad::HASHGRAD_GPU
