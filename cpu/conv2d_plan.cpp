#include "cpu/conv2d_plan.h"

#include <algorithm>

#include "core/error.h"

namespace hashgrad::cpu {
namespace {

constexpr int64_t widest_panel = 32;

/// Groups outputs into vectors of two runs; empty when some vector needs more (stride > 1, tiny images).
std::vector<PixelVector> pixel_vectors(const std::vector<int64_t>& offsets, int64_t lanes) {
  std::vector<PixelVector> vectors;
  for (auto at = offsets.begin(); offsets.end() - at >= lanes; at += lanes) {
    int64_t split = 1;
    while (split < lanes && at[split] == at[0] + split) ++split;
    const int64_t second = split < lanes ? at[split] - split : at[0];
    for (int64_t i = split; i < lanes; ++i)
      if (at[i] != second + i) return {};
    vectors.push_back({at[0], second, split});
  }
  return vectors;
}

/// What a ReLU lets through. By value: with both loads done first, the choice needs no branch.
template <class T>
T passed(T gradient, T output) {
  return output > 0 ? gradient : T{0};
}

template <class T>
void copy_row(int64_t n, const T* values, const T* output, T* out) {
  if (!output) {
    std::copy_n(values, n, out);
    return;
  }
  for (int64_t i = 0; i < n; ++i) out[i] = passed(values[i], output[i]);
}

/// Undoes 2x2 pooling: each value goes to where its maximum was, if the ReLU let it through.
template <class T>
void unpool_row(int64_t pooled_width, const T* values, const T* output, const uint8_t* argmax, T* out,
                int64_t row_stride) {
  for (int64_t i = 0; i < pooled_width; ++i)
    out[(argmax[i] >> 1) * row_stride + 2 * i + (argmax[i] & 1)] = passed(values[i], output[i]);
}

}  // namespace

void check_conv2d(const Conv2dShape& s) {
  check(s.batch >= 0, "conv2d: batch of {} images", s.batch);
  check(s.in_channels >= 1 && s.height >= 1 && s.width >= 1 && s.out_channels >= 1 && s.kernel_h >= 1 &&
            s.kernel_w >= 1,
        "conv2d: image [{}, {}, {}] with weight [{}, {}, {}, {}]: every extent must be at least 1",
        s.in_channels, s.height, s.width, s.out_channels, s.in_channels, s.kernel_h, s.kernel_w);
  check(s.stride >= 1 && s.padding >= 0,
        "conv2d: stride {} and padding {} (expected stride >= 1, padding >= 0)", s.stride, s.padding);
  check(s.height + 2 * s.padding >= s.kernel_h && s.width + 2 * s.padding >= s.kernel_w,
        "conv2d: kernel {} x {} does not fit the image of {} x {} with padding {}", s.kernel_h, s.kernel_w,
        s.height, s.width, s.padding);
}

std::vector<int64_t> pixel_offsets(const Conv2dShape& s, int64_t images) {
  const int64_t padded_height = s.height + 2 * s.padding, padded_width = s.width + 2 * s.padding;
  std::vector<int64_t> offsets;
  for (int64_t n = 0; n < images; ++n) {
    const int64_t image = n * s.in_channels * padded_height * padded_width;
    for (int64_t y = 0; y < s.out_height(); ++y)
      for (int64_t x = 0; x < s.out_width(); ++x)
        offsets.push_back(image + (y * padded_width + x) * s.stride);
  }
  for (int64_t i = 0; i < widest_panel; ++i) offsets.push_back(offsets.back() + 1);
  return offsets;
}

std::vector<int64_t> tap_offsets(const Conv2dShape& s) {
  const int64_t padded_height = s.height + 2 * s.padding, padded_width = s.width + 2 * s.padding;
  std::vector<int64_t> offsets;
  for (int64_t c = 0; c < s.in_channels; ++c)
    for (int64_t r = 0; r < s.kernel_h; ++r)
      for (int64_t q = 0; q < s.kernel_w; ++q) offsets.push_back((c * padded_height + r) * padded_width + q);
  offsets.resize(offsets.size() + widest_panel, 0);
  return offsets;
}

template <class T>
Conv2dPlan<T>::Conv2dPlan(const Conv2dShape& shape, int64_t images)
    : shape_(shape),
      images_(images),
      padded_height_(shape.height + 2 * shape.padding),
      padded_width_(shape.width + 2 * shape.padding),
      pixel_offsets_(pixel_offsets(shape, images)),
      tap_offsets_(tap_offsets(shape)),
      pixels_(pixel_vectors(pixel_offsets_, conv2d_kernels().of<T>().lanes)),
      lanes_(conv2d_kernels().of<T>().lanes) {}

template <class T>
void Conv2dPlan<T>::pad(const Conv2dGradient<T>& source, int64_t n, int64_t images, T* buffer) const {
  const int64_t p = shape_.padding, plane = padded_height_ * padded_width_, size = shape_.in_channels * plane;
  if (p > 0) std::fill_n(origin(buffer), images * size, T{0});
  for (int64_t i = 0; i < images; ++i)
    write_image(source, n + i, shape_.in_channels, shape_.height, shape_.width,
                origin(buffer) + i * size + p * padded_width_ + p, padded_width_, plane);
}

template <class T>
Unfold<T> Conv2dPlan<T>::unfold(const T* image, int64_t p0, int64_t pixels, int64_t k0, int64_t taps,
                                T* panels) const {
  return {image,  pixel_offsets_.data() + p0, pixels_.empty() ? nullptr : pixels_.data() + p0 / lanes_,
          pixels, tap_offsets_.data() + k0,   taps,
          panels};
}

template <class T>
void write_image(const Conv2dGradient<T>& source, int64_t n, int64_t channels, int64_t height, int64_t width,
                 T* out, int64_t row_stride, int64_t plane_stride) {
  const bool pooled = source.argmax != nullptr;
  const int64_t rows = pooled ? height / 2 : height, row = pooled ? width / 2 : width;
  for (int64_t c = 0; c < channels; ++c) {
    T* plane = out + c * plane_stride;
    for (int64_t y = 0; pooled && y < height; ++y) std::fill_n(plane + y * row_stride, width, T{0});
    for (int64_t y = 0; y < rows; ++y) {
      const int64_t at = ((n * channels + c) * rows + y) * row;
      const T* output = source.output ? source.output + at : nullptr;
      if (pooled)
        unpool_row(row, source.dy + at, output, source.argmax + at, plane + 2 * y * row_stride, row_stride);
      else
        copy_row(row, source.dy + at, output, plane + y * row_stride);
    }
  }
}

#define INSTANTIATE(T)                                                                                 \
  template class Conv2dPlan<T>;                                                                        \
  template void write_image(const Conv2dGradient<T>&, int64_t, int64_t, int64_t, int64_t, T*, int64_t, \
                            int64_t);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace hashgrad::cpu
