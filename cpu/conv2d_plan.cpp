#include "cpu/conv2d_plan.h"

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "core/parallel.h"
#include "cpu/blocking.h"
#include "cpu/scratch.h"

namespace hashgrad::cpu {
namespace {

constexpr int64_t widest_panel = 32;

/// The runs of `lanes` outputs, and how many there are; 0 when there are too many (stride > 1, tiny images).
int runs_of(const int64_t* offsets, int64_t lanes, PixelVector& vector) {
  std::fill_n(vector.start, PixelVector::most_runs, offsets[0]);
  std::fill_n(vector.turn, PixelVector::most_runs - 1, lanes);
  int runs = 1;
  for (int64_t i = 1; i < lanes; ++i) {
    if (offsets[i] == offsets[i - 1] + 1) continue;
    if (runs == PixelVector::most_runs) return 0;
    vector.turn[runs - 1] = i;
    vector.start[runs++] = offsets[i] - i;
  }
  return runs;
}

/// Groups outputs into vectors, and says how many runs they have at most; empty when some vector has too
/// many.
std::vector<PixelVector> pixel_vectors(const std::vector<int64_t>& offsets, int64_t lanes, int64_t spacing,
                                       int& most_runs) {
  std::vector<PixelVector> vectors;
  most_runs = 1;
  for (auto at = offsets.begin(); offsets.end() - at >= lanes; at += spacing) {
    const int runs = runs_of(&*at, lanes, vectors.emplace_back());
    if (runs == 0) return {};
    most_runs = std::max(most_runs, runs);
  }
  return vectors;
}

/// The last row and column of a plane that pooling dropped, if it did.
template <class T>
void clear_odd_edges(int64_t height, int64_t width, T* plane, int64_t row_stride) {
  if (height % 2) std::fill_n(plane + (height - 1) * row_stride, width, T{0});
  for (int64_t y = 0; width % 2 && y < height; ++y) plane[y * row_stride + width - 1] = T{0};
}

/// turned [in_channels, out_channels, kernel_h, kernel_w] = weight [out_channels, in_channels, ...], turned.
template <class T>
void turn_kernels(const Conv2dShape& s, const T* weight, T* turned) {
  constexpr int64_t side = 16;  // input channels at a time: they lie side by side in memory
  const int64_t window = s.kernel_h * s.kernel_w;
  const bool serial = is_small(0, s.out_channels * s.depth());
  parallel_for_unless(serial, divide_up(s.in_channels, side), [&](int64_t task) {
    for (int64_t o = 0; o < s.out_channels; ++o)
      for (int64_t c = task * side; c < std::min((task + 1) * side, s.in_channels); ++c) {
        const T* from = weight + (o * s.in_channels + c) * window;
        std::reverse_copy(from, from + window, turned + (c * s.out_channels + o) * window);
      }
  });
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

PaddedRows::PaddedRows(const Conv2dShape& s, int64_t dealt_into)
    : height(s.height + 2 * s.padding),
      width(round_up(s.width + 2 * s.padding, dealt_into)),
      phases(dealt_into) {}

template <class T>
void deal_plane(const Conv2dShape& s, const PaddedRows& rows, const T* plane, T* to) {
  const Conv2dKernels<T>& kernels = conv2d_kernels().of<T>();
  const auto row = [&](int64_t y) { return to + (y + s.padding) * rows.width; };
  const auto column = [&](int64_t x) { return rows.column(x + s.padding); };
  const auto is_read = [&](int64_t at, int64_t kernel) { return (at + s.padding) % s.stride < kernel; };
  if (rows.phases == 1)
    return kernels.copy_plane(s.height, s.width, plane, nullptr, row(0) + column(0), rows.width);
  if (rows.phases == 2) {
    const int64_t step = std::max(s.stride - s.kernel_h + 1, int64_t{1}),
                  first = step == 1 ? 0 : s.padding % 2;
    return kernels.deal_plane(divide_up(s.height - first, step), s.width, plane + first * s.width,
                              step * s.width, is_read(0, s.kernel_w) ? row(first) + column(0) : nullptr,
                              is_read(1, s.kernel_w) ? row(first) + column(1) : nullptr, step * rows.width);
  }
  for (int64_t y = 0; y < s.height; ++y)
    for (int64_t x = 0; is_read(y, s.kernel_h) && x < s.width; ++x)
      if (is_read(x, s.kernel_w)) row(y)[column(x)] = plane[y * s.width + x];
}
template void deal_plane(const Conv2dShape&, const PaddedRows&, const float*, float*);
template void deal_plane(const Conv2dShape&, const PaddedRows&, const double*, double*);

template <class T>
void arrange_by_channels(const Conv2dShape& s, const T* x, int64_t channels, int64_t nr, T* out) {
  constexpr int64_t square = 16;  // at most, of those that are transposed: rows that end within waste them
  const auto transpose = gemm_kernels().of<T>().pack_b_depth;
  const int64_t p = s.padding, row = (s.width + 2 * p) * nr;
  const bool by_rows = s.width % square == 0;
  const Scratch<T> whole(by_rows ? 0 : s.in_pixels() * nr);
  if (!by_rows) transpose(x, s.in_pixels(), channels, s.in_pixels(), whole.data());
  std::fill_n(out, p * row, T{0});
  out += p * row;
  for (int64_t y = 0; y < s.height; ++y, out += row) {
    std::fill_n(out, p * nr, T{0});
    if (by_rows)
      transpose(x + y * s.width, s.in_pixels(), channels, s.width, out + p * nr);
    else
      std::copy_n(whole.data() + y * s.width * nr, s.width * nr, out + p * nr);
    std::fill_n(out + (p + s.width) * nr, p * nr, T{0});
  }
  std::fill_n(out, p * row, T{0});
}
template void arrange_by_channels(const Conv2dShape&, const float*, int64_t, int64_t, float*);
template void arrange_by_channels(const Conv2dShape&, const double*, int64_t, int64_t, double*);

std::vector<int64_t> pixel_offsets(const Conv2dShape& s, int64_t images, int64_t phases) {
  const PaddedRows rows(s, phases);
  const int64_t width = s.out_width(), step = s.stride / phases;  // phases: 1 or the stride
  std::vector<int64_t> offsets(static_cast<size_t>(images * s.out_pixels() + widest_panel));
  auto at = offsets.begin();
  for (int64_t n = 0; n < images; ++n)
    for (int64_t y = 0; y < s.out_height(); ++y) {
      const int64_t row = (n * s.in_channels * rows.height + y * s.stride) * rows.width;
      for (int64_t x = 0; x < width; ++x) *at++ = row + x * step;
    }
  const int64_t last = at[-1];
  for (int64_t i = 1; i <= widest_panel; ++i) *at++ = last + i;
  return offsets;
}

std::vector<int64_t> tap_offsets(const Conv2dShape& s, int64_t phases) {
  const PaddedRows rows(s, phases);
  const auto window = static_cast<size_t>(s.kernel_h * s.kernel_w), taps = static_cast<size_t>(s.depth());
  std::vector<int64_t> offsets(taps + widest_panel);
  for (int64_t r = 0; r < s.kernel_h; ++r)
    for (int64_t q = 0; q < s.kernel_w; ++q)
      offsets[static_cast<size_t>(r * s.kernel_w + q)] = r * rows.width + rows.column(q);
  for (size_t i = window; i < taps; ++i) offsets[i] = offsets[i - window] + rows.height * rows.width;
  return offsets;
}

template <class T>
Conv2dPlan<T>::Conv2dPlan(const Conv2dShape& shape, int64_t images, int64_t phases)
    : shape_(shape),
      images_(images),
      rows_(shape, phases),
      pixel_offsets_(pixel_offsets(shape, images, phases)),
      tap_offsets_(tap_offsets(shape, phases)),
      spacing_(conv2d_kernels().of<T>().spacing),
      pixels_(pixel_vectors(pixel_offsets_, conv2d_kernels().of<T>().lanes, spacing_, runs_)) {}

template <class T>
void Conv2dPlan<T>::pad(const Conv2dGradient<T>& source, int64_t n, int64_t images, T* buffer) const {
  pad_planes(source, n, 0, images * shape_.in_channels, buffer);
}

template <class T>
void Conv2dPlan<T>::pad_planes(const Conv2dGradient<T>& source, int64_t n, int64_t first, int64_t count,
                               T* buffer) const {
  const int64_t p = shape_.padding, plane = rows_.height * rows_.width;
  const bool dealt = rows_.phases > 1;
  const Scratch<T> whole(dealt ? shape_.in_pixels() : 0);
  for (int64_t i = first; i < first + count; ++i) {
    T* to = origin(buffer) + i * plane;
    if (p > 0) std::fill_n(to, plane, T{0});
    if (dealt)
      deal_plane(
          shape_, rows_,
          whole_image(source, n * shape_.in_channels + i, 1, shape_.height, shape_.width, whole.data()), to);
    else
      write_image(source, n * shape_.in_channels + i, 1, shape_.height, shape_.width,
                  to + p * rows_.width + p, rows_.width, plane);
  }
}

template <class T>
PixelPanel<T> Conv2dPlan<T>::pixel_panel(const T* image, int64_t p0, int64_t pixels, int64_t k0, int64_t taps,
                                         T* panel) const {
  const Conv2dKernels<T>& kernel = conv2d_kernels().of<T>();
  if (!pixels_.empty()) {
    const PixelVector &first = pixels_[p0 / spacing_], &second = pixels_[(p0 + kernel.lanes) / spacing_];
    if (first.turn[0] == kernel.lanes && second.turn[0] == kernel.lanes)
      return {image + first.start[0], tap_offsets_.data() + k0, second.start[0] - first.start[0]};
  }
  kernel.unfold_pixels(unfold(image, p0, pixels, k0, taps, panel));
  return {panel, nullptr, 0};
}

template <class T>
Unfold<T> Conv2dPlan<T>::unfold(const T* image, int64_t p0, int64_t pixels, int64_t k0, int64_t taps,
                                T* panels) const {
  return {.image = image,
          .pixel_offsets = pixel_offsets_.data() + p0,
          .pixels = pixels_.empty() ? nullptr : pixels_.data() + p0 / spacing_,
          .runs = runs_,
          .pixel_count = pixels,
          .tap_offsets = tap_offsets_.data() + k0,
          .tap_count = taps,
          .panels = panels};
}

template <class T>
void write_image(const Conv2dGradient<T>& source, int64_t n, int64_t channels, int64_t height, int64_t width,
                 T* out, int64_t row_stride, int64_t plane_stride) {
  const Conv2dKernels<T>& kernel = conv2d_kernels().of<T>();
  const bool pooled = source.argmax != nullptr;
  const int64_t rows = pooled ? height / 2 : height, row = pooled ? width / 2 : width;
  for (int64_t c = 0; c < channels; ++c) {
    const int64_t at = (n * channels + c) * rows * row;
    const T *dy = source.dy + at, *output = source.output ? source.output + at : nullptr;
    T* plane = out + c * plane_stride;
    if (source.mask) {
      const int64_t lines = row_stride == row ? 1 : rows, length = row_stride == row ? rows * row : row;
      for (int64_t y = 0; y < lines; ++y)
        channel_kernels().of<T>().pass(length, source.mask, at + y * row, dy + y * row,
                                       plane + y * row_stride);
      continue;
    }
    if (!pooled) {
      kernel.copy_plane(rows, row, dy, output, plane, row_stride);
      continue;
    }
    for (int64_t y = 0; y < rows; ++y) {
      T* const to = plane + 2 * y * row_stride;
      kernel.unpool_2x2(row, dy + y * row, output + y * row, source.argmax + at + y * row, to,
                        to + row_stride);
    }
    clear_odd_edges(height, width, plane, row_stride);
  }
}

template <class T>
const T* as_convolved(const Conv2dShape& s, const ConvolvedWeight<T>& weight, T* buffer) {
  if (!weight.turned) return weight.data;
  Conv2dShape forward = s;
  std::swap(forward.in_channels, forward.out_channels);
  turn_kernels(forward, weight.data, buffer);
  return buffer;
}

template <class T>
void add_columns(const Conv2dShape& s, const T* columns, int64_t step, T* dx) {
  const PaddedRows padded(s, s.stride);
  const int64_t rows = round_up(padded.height, s.stride);
  const Scratch<T> dealt(rows * padded.width);
  conv2d_kernels().of<T>().add_columns({columns, step, s.kernel_h, s.kernel_w, s.out_height(), s.out_width(),
                                        dealt.data(), rows, s.stride, padded.width / padded.phases, s.padding,
                                        dx, s.height, s.width});
}

#define INSTANTIATE(T)                                                                                 \
  template class Conv2dPlan<T>;                                                                        \
  template const T* as_convolved(const Conv2dShape&, const ConvolvedWeight<T>&, T*);                   \
  template void add_columns(const Conv2dShape&, const T*, int64_t, T*);                                \
  template void write_image(const Conv2dGradient<T>&, int64_t, int64_t, int64_t, int64_t, T*, int64_t, \
                            int64_t);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace hashgrad::cpu
