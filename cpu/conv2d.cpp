#include "cpu/conv2d.h"

#include <algorithm>
#include <type_traits>

#include "core/error.h"
#include "core/parallel.h"
#include "cpu/batch_norm.h"
#include "cpu/blocking.h"
#include "cpu/conv2d_pairs.h"
#include "cpu/conv2d_plan.h"
#include "cpu/gemm.h"
#include "cpu/kernels.h"
#include "cpu/scratch.h"
#include "cpu/winograd.h"

namespace hashgrad::cpu {
namespace {

/// Packs the weights [rows, k] once for all threads: block of depth after block of depth, rows filled up to
/// mr.
template <class T>
void pack_weight(int64_t rows, int64_t k, const T* weight, T* packed) {
  const GemmKernels<T>& kernel = gemm_kernels().of<T>();
  const int64_t kc = block_depth(k), padded = round_up(rows, kernel.mr);
  parallel_for(divide_up(k, kc), [&](int64_t i) {
    const int64_t k0 = i * kc;
    kernel.pack_a_depth(weight + k0, k, rows, std::min(kc, k - k0), packed + padded * k0);
  });
}

/// Images that one task takes side by side: enough for the packed weights to pass many pixels each time, or
/// as many as waste the fewest lanes of the last panel of pixels.
template <class T>
int64_t images_per_task(const Conv2dShape& s) {
  constexpr int64_t many_pixels = 256;
  const int64_t width = gemm_kernels().of<T>().nr, most = std::max<int64_t>(1, s.batch / 8);
  if (2 * s.out_pixels() <= many_pixels) return std::min(many_pixels / s.out_pixels(), most);
  int64_t best = 1;
  const auto lanes_per_image = [&](int64_t images) {
    return divide_up(round_up(images * s.out_pixels(), width), images);
  };
  for (int64_t images = 2; images <= std::min<int64_t>(4, most); ++images)
    if (lanes_per_image(images) < lanes_per_image(best)) best = images;
  return best;
}

/// Outputs of a block, whose sums wait in L2 for the next block of depth: the more pixels they are, the fewer
/// times the weights are read.
constexpr int64_t block_outputs = 128 * 1024;

/// y [out_channels, pixels] = weight * unfolded images. Panels of pixels are read where they lie, or unfolded
/// one at a time into L1, and used up at once; a block of them passes before the next block of depth, so that
/// the weights stay in L2.
template <class T>
void convolve_block(const Conv2dShape& s, const Conv2dPlan<T>& plan, const T* images, int64_t pixels,
                    const T* packed, const Conv2dEpilogue<T>& to, T* y) {
  const GemmKernels<T>& kernel = gemm_kernels().of<T>();
  const int64_t k = s.depth(), kc = block_depth(k), padded = round_up(s.out_channels, kernel.mr);
  const int64_t step = round_up(divide_up(block_outputs, s.out_channels), kernel.nr);
  const Scratch<T> buffer(kernel.nr * kc);
  for (int64_t p0 = 0; p0 < pixels; p0 += step) {
    for (int64_t k0 = 0; k0 < k; k0 += kc) {
      const int64_t depth = std::min(kc, k - k0);
      const bool last = k0 + depth == k;
      for (int64_t p = p0; p < std::min(p0 + step, pixels); p += kernel.nr) {
        const int64_t count = std::min(kernel.nr, pixels - p);
        const PixelPanel<T> panel = plan.pixel_panel(images, p, count, k0, depth, buffer.data());
        kernel.block({.rows = s.out_channels,
                      .columns = count,
                      .depth = depth,
                      .a = packed + padded * k0,
                      .b = panel.at,
                      .c = y + p,
                      .ldc = pixels,
                      .row_bias = last ? to.bias : nullptr,
                      .accumulate = k0 > 0,
                      .relu = last && to.relu,
                      .b_offsets = panel.offsets,
                      .b_second = panel.second});
      }
    }
  }
}

/// Up to so many outputs of a channel, the images of a small batch are taken side by side.
constexpr int64_t few_outputs = 1024;

/// body(begin, end) for eight nearly equal pieces of n planes of so many elements, which are moved only.
template <class Body>
void for_pieces(int64_t n, int64_t elements, const Body& body) {
  constexpr int64_t pieces = 8;
  parallel_for_unless(is_small(0, n * elements), pieces,
                      [&](int64_t i) { body(n * i / pieces, n * (i + 1) / pieces); });
}

/// `images` images from n on, with all threads at work on each step: what a thread would prepare for its own
/// outputs alone, every other would have to prepare again.
template <class T>
void convolve_together(const Conv2dShape& s, const Conv2dPlan<T>& plan, const Conv2dGradient<T>& source,
                       int64_t n, int64_t images, const T* weight, const Conv2dEpilogue<T>& to) {
  const int64_t pixels = images * s.out_pixels(), k = s.depth();
  const bool in_place = to.in_place(images);
  const Scratch<T> padded(plan.buffer_size()), buffer(in_place ? 0 : s.out_channels * pixels);
  T* y = in_place ? to.y + n * s.out_channels * pixels : buffer.data();
  for_pieces(images * s.in_channels, s.in_pixels(), [&](int64_t begin, int64_t end) {
    plan.pad_planes(source, n, begin, end - begin, padded.data());
  });
  const Packer<T> unfold = [&](const PackBlock& b, T* panels) {
    conv2d_kernels().of<T>().unfold_pixels(
        plan.unfold(plan.origin(padded.data()), b.first, b.count, b.k0, b.depth, panels));
  };
  gemm_packed<T>(s.out_channels, pixels, k, {}, unfold, y, pixels, {.row_bias = to.bias, .relu = to.relu},
                 {weight, k});
  if (in_place && !to.norm) return;
  const Delivery<T> deliver(s, to);
  for_pieces(s.out_channels, pixels,
             [&](int64_t begin, int64_t end) { deliver(y + begin * pixels, n, images, begin, end - begin); });
}

template <class T>
void convolve_few(const Conv2dShape& s, const Conv2dGradient<T>& source, const T* weight,
                  const Conv2dEpilogue<T>& to) {
  if (s.batch == 0) return;
  const int64_t images = s.batch * s.out_pixels() <= few_outputs ? s.batch : 1;
  const Conv2dPlan<T> plan(s, images, s.stride);
  for (int64_t n = 0; n < s.batch; n += images) convolve_together(s, plan, source, n, images, weight, to);
}

/// Tasks of whole images.
template <class T>
void convolve_many(const Conv2dShape& s, const Conv2dGradient<T>& source, const T* weight,
                   const Conv2dEpilogue<T>& to) {
  const GemmKernels<T>& kernel = gemm_kernels().of<T>();
  const int64_t group = images_per_task<T>(s);
  const Conv2dPlan<T> plan(s, group, s.stride);
  const bool in_place = to.in_place(group);
  const Scratch<T> packed(round_up(s.out_channels, kernel.mr) * s.depth());
  pack_weight(s.out_channels, s.depth(), weight, packed.data());
  const Delivery<T> deliver(s, to);

  parallel_for(divide_up(s.batch, group), [&](int64_t task) {
    const int64_t n = task * group, images = std::min(group, s.batch - n), pixels = images * s.out_pixels();
    const Scratch<T> padded(plan.buffer_size()), buffer(in_place ? 0 : s.out_channels * pixels);
    T* y = in_place ? to.y + n * s.out_channels * pixels : buffer.data();
    plan.pad(source, n, images, padded.data());
    convolve_block(s, plan, plan.origin(padded.data()), pixels, packed.data(), to, y);
    if (!in_place || to.norm) deliver(y, n, images, 0, s.out_channels);
  });
}

}  // namespace

template <class T>
Delivery<T>::Delivery(const Conv2dShape& s, const Conv2dEpilogue<T>& to)
    : channels_(s.out_channels),
      height_(s.out_height()),
      width_(s.out_width()),
      pixels_(height_ * width_),
      to_(to) {}

template <class T>
void Delivery<T>::operator()(const T* y, int64_t n, int64_t c) const {
  const int64_t plane = n * channels_ + c;
  if (to_.norm) {
    const Conv2dNorm<T>& norm = to_.norm->of;
    const int64_t at = plane * pixels_;
    channel_kernels().of<T>().normalise(pixels_, y, norm.mean[c], to_.norm->slope[c],
                                        norm.beta ? norm.beta[c] : T{0},
                                        norm.added ? norm.added + at : nullptr, norm.relu, to_.y + at);
  } else if (to_.y) {
    std::copy_n(y, pixels_, to_.y + plane * pixels_);
  } else {
    const int64_t at = plane * (height_ / 2) * (width_ / 2);
    conv2d_kernels().of<T>().pool_2x2(height_, width_, y, to_.pooled + at,
                                      to_.argmax ? to_.argmax + at : nullptr);
  }
}

template <class T>
void Delivery<T>::operator()(const T* y, int64_t n, int64_t images, int64_t c, int64_t channels) const {
  for (int64_t k = 0; k < channels; ++k)
    for (int64_t i = 0; i < images; ++i, y += pixels_) (*this)(y, n + i, c + k);
}

template <class T>
void convolve(const Conv2dShape& s, const Conv2dGradient<T>& source, const ConvolvedWeight<T>& weight,
              const Conv2dEpilogue<T>& to) {
  if constexpr (std::is_same_v<T, float>) {
    const int parts = parts_wanted<T>();
    if (winograd_fits(s, parts)) return convolve_winograd(parts, s, source, weight, to);
    if (parts) return convolve_pairs(parts, s, source, weight, to);
  }
  const Scratch<T> turned(weight.turned ? s.out_channels * s.depth() : 0);
  const T* kernels = as_convolved(s, weight, turned.data());
  const bool few = s.batch < 8 || s.batch * s.out_pixels() <= few_outputs / 4;  // for tasks of whole images
  (few ? convolve_few<T> : convolve_many<T>)(s, source, kernels, to);
}

template <class T>
void conv2d_forward(const Conv2dShape& shape, const T* x, const T* weight, const T* bias, bool relu, T* y) {
  check_conv2d(shape);
  convolve<T>(shape, {x}, {weight}, {.y = y, .bias = bias, .relu = relu});
}

template <class T>
void conv2d_norm_forward(const Conv2dShape& shape, const T* x, const T* weight, const T* bias,
                         const Conv2dNorm<T>& norm, T* y) {
  check_conv2d(shape);
  const Scratch<T> slope(shape.out_channels);
  for (int64_t c = 0; c < shape.out_channels; ++c)
    slope.data()[c] = batch_norm_slope(norm.gamma ? norm.gamma[c] : T{1}, norm.variance[c], norm.eps);
  const PlaneNorm<T> planes{norm, slope.data()};
  convolve<T>(shape, {x}, {weight}, {.y = y, .bias = bias, .norm = &planes});
}

template <class T>
void conv2d_relu_pool_forward(const Conv2dShape& shape, const T* x, const T* weight, const T* bias, T* pooled,
                              uint8_t* argmax) {
  check_conv2d(shape);
  check(shape.out_height() >= 2 && shape.out_width() >= 2,
        "conv2d_relu_pool: output {} x {} is smaller than the 2 x 2 window", shape.out_height(),
        shape.out_width());
  convolve<T>(shape, {x}, {weight}, {.pooled = pooled, .argmax = argmax, .bias = bias, .relu = true});
}

#define INSTANTIATE(T)                                                                                      \
  template class Delivery<T>;                                                                               \
  template void convolve(const Conv2dShape&, const Conv2dGradient<T>&, const ConvolvedWeight<T>&,           \
                         const Conv2dEpilogue<T>&);                                                         \
  template void conv2d_forward(const Conv2dShape&, const T*, const T*, const T*, bool, T*);                 \
  template void conv2d_norm_forward(const Conv2dShape&, const T*, const T*, const T*, const Conv2dNorm<T>&, \
                                    T*);                                                                    \
  template void conv2d_relu_pool_forward(const Conv2dShape&, const T*, const T*, const T*, T*, uint8_t*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace hashgrad::cpu
