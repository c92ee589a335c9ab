#include <algorithm>
#include <type_traits>
#include <vector>

#include "core/parallel.h"
#include "cpu/blocking.h"
#include "cpu/conv2d.h"
#include "cpu/conv2d_pairs.h"
#include "cpu/conv2d_plan.h"
#include "cpu/kernels.h"
#include "cpu/reduce.h"
#include "cpu/scratch.h"

namespace hashgrad::cpu {
namespace {

/// turned [in_channels, out_channels, kh, kw] = the weights with both axes of the kernel reversed and those
/// of the channels exchanged. Sixteen input channels at a time: they lie side by side in memory.
template <class T>
void turn_kernels(const Conv2dShape& s, const T* weight, T* turned) {
  constexpr int64_t side = 16;
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

/// dx of a convolution of stride 1 is a convolution of dy with the kernels turned by 180 degrees and the two
/// channel axes exchanged, padded so that every input pixel sees every output it took part in.
template <class T>
void backward_input_convolve(const Conv2dShape& s, const T* weight, const Conv2dGradient<T>& gradient,
                             T* dx) {
  const Scratch<T> turned(s.out_channels * s.depth());
  turn_kernels(s, weight, turned.data());
  const Conv2dShape transposed{s.batch,
                               s.out_channels,
                               s.out_height(),
                               s.out_width(),
                               s.in_channels,
                               s.kernel_h,
                               s.kernel_w,
                               1,
                               s.kernel_h - 1 - s.padding};
  convolve<T>(transposed, gradient, turned.data(), nullptr, false, {dx, nullptr, nullptr});
}

/// dx by columns: weight^T * dy gives every product of a tap with a gradient, which are then added where they
/// belong. Any stride; also the faster way for one to three input channels, where the other one would fill a
/// tile of six rows with so few. A task takes one image and some channels, so that the columns stay in L2.
template <class T>
void backward_input_columns(const Conv2dShape& s, const T* weight, const Conv2dGradient<T>& gradient, T* dx) {
  if constexpr (std::is_same_v<T, float>) {
    if (const int parts = parts_wanted<T>())
      return backward_input_columns_pairs(parts, s, weight, gradient, dx);
  }
  const GemmKernels<T>& kernel = gemm_kernels().of<T>();
  const int64_t window = s.kernel_h * s.kernel_w, pixels = s.out_pixels(), kc = block_depth(s.out_channels);
  const int64_t group = std::clamp<int64_t>(block_elements / (window * pixels), 1, s.in_channels);
  const int64_t groups = divide_up(s.in_channels, group), padded_rows = round_up(group * window, kernel.mr);
  const auto rows_of = [&](int64_t g) { return std::min(group, s.in_channels - g * group) * window; };

  const Scratch<T> packed(groups * padded_rows * s.out_channels);
  parallel_for(groups, [&](int64_t g) {
    for (int64_t k0 = 0; k0 < s.out_channels; k0 += kc)
      kernel.pack_a_lanes(weight + k0 * s.depth() + g * group * window, s.depth(), rows_of(g),
                          std::min(kc, s.out_channels - k0),
                          packed.data() + padded_rows * (g * s.out_channels + k0));
  });

  parallel_for(s.batch * groups, [&](int64_t task) {
    const int64_t n = task / groups, g = task % groups, rows = rows_of(g), channels = rows / window;
    const Scratch<T> dy_buffer(s.out_channels * pixels), panels(round_up(pixels, kernel.nr) * kc),
        columns(rows * pixels);
    const T* dy = whole_image(gradient, n, s.out_channels, s.out_height(), s.out_width(), dy_buffer.data());
    for (int64_t k0 = 0; k0 < s.out_channels; k0 += kc) {
      const int64_t depth = std::min(kc, s.out_channels - k0);
      kernel.pack_b_lanes(dy + k0 * pixels, pixels, pixels, depth, panels.data());
      kernel.block({rows, pixels, depth, packed.data() + padded_rows * (g * s.out_channels + k0),
                    panels.data(), columns.data(), pixels, nullptr, nullptr, k0 > 0, false});
    }
    add_columns(s, channels, columns.data(), dx + (n * s.in_channels + g * group) * s.in_pixels());
  });
}

/// How the weight gradient is cut: images into stripes packed for all threads, taps into blocks, and, when
/// there are few taps, the batch into chunks with sums of their own. A function of the shape alone.
struct WeightBlocks {
  int64_t depth, taps, tap_blocks, chunks, chunk, stripe;
};

template <class T>
WeightBlocks weight_blocks(const Conv2dShape& s, int64_t image_elements) {
  const GemmKernels<T>& kernel = gemm_kernels().of<T>();
  WeightBlocks b{};
  b.depth = block_depth(s.out_pixels());
  b.taps = panel_block(s.depth(), kernel.nr, b.depth, 8);
  b.tap_blocks = divide_up(s.depth(), b.taps);
  b.chunk = divide_up(s.batch, std::min(divide_up(16, b.tap_blocks), s.batch));
  b.chunks = divide_up(s.batch, b.chunk);
  const int64_t images = stripe_bytes / static_cast<int64_t>(sizeof(T)) / (image_elements * b.chunks);
  b.stripe = std::clamp<int64_t>(images, 1, b.chunk);
  return b;
}

/// Whether the weight gradient takes an image by whole panels of channels: [channels / nr][padded plane][nr].
/// The panel of nr channels at one place of the kernel is then rows of that, copied, where it would otherwise
/// be transposed anew for every place.
template <class T>
bool by_channels(const Conv2dShape& s) {
  return s.in_channels % gemm_kernels().of<T>().nr == 0;
}

template <class T>
int64_t image_size(const Conv2dShape& s, const Conv2dPlan<T>& plan) {
  return by_channels<T>(s) ? s.in_channels * plan.padded_height() * plan.padded_width() : plan.buffer_size();
}

/// x padded, as add_image reads it.
template <class T>
void arrange_image(const Conv2dShape& s, const Conv2dPlan<T>& plan, const T* x, int64_t n, T* image) {
  if (!by_channels<T>(s)) return plan.pad({x}, n, 1, image);
  const Scratch<T> padded(plan.buffer_size());
  plan.pad({x}, n, 1, padded.data());
  const int64_t plane = plan.padded_height() * plan.padded_width();
  gemm_kernels().of<T>().pack_b_depth(plan.origin(padded.data()), plane, s.in_channels, plane, image);
}

/// Where the gradients of the weights (channel, row and column of the kernel) of an output stand in the sums:
/// taps are numbered by (panel of channels, place, channel in the panel) when taken by channels.
template <class T>
std::vector<int64_t> tap_order(const Conv2dShape& s) {
  const int64_t nr = by_channels<T>(s) ? gemm_kernels().of<T>().nr : 1, window = s.kernel_h * s.kernel_w;
  std::vector<int64_t> order;
  for (int64_t c = 0; c < s.in_channels; ++c)
    for (int64_t place = 0; place < window; ++place) order.push_back((c / nr * window + place) * nr + c % nr);
  return order;
}

/// The panel of taps [t, t + nr) of an image arranged by channels, pixels [p0, p0 + depth).
template <class T>
void copy_taps(const Conv2dShape& s, const Conv2dPlan<T>& plan, const T* image, int64_t t, int64_t p0,
               int64_t depth, T* panel) {
  const int64_t nr = gemm_kernels().of<T>().nr, window = s.kernel_h * s.kernel_w, width = s.out_width();
  const int64_t place = t / nr % window, channels = t / nr / window;
  image +=
      ((channels * plan.padded_height() + place / s.kernel_w) * plan.padded_width() + place % s.kernel_w) *
      nr;
  for (int64_t p = p0, run; p < p0 + depth; p += run, panel += run * nr) {
    run = s.stride == 1 ? std::min(width - p % width, p0 + depth - p) : 1;
    std::copy_n(image + (p / width * plan.padded_width() + p % width) * s.stride * nr, run * nr, panel);
  }
}

/// One image made ready for the weight gradient: dy packed as operand A, x arranged, and the sums of dy.
template <class T>
void prepare_image(const Conv2dShape& s, const Conv2dPlan<T>& plan, const T* x,
                   const Conv2dGradient<T>& gradient, int64_t n, int64_t kc, T* packed, T* image,
                   T* bias_sums) {
  const GemmKernels<T>& kernel = gemm_kernels().of<T>();
  const int64_t pixels = s.out_pixels(), rows = round_up(s.out_channels, kernel.mr);
  const Scratch<T> dy_buffer(s.out_channels * pixels);
  const T* dy = whole_image(gradient, n, s.out_channels, s.out_height(), s.out_width(), dy_buffer.data());
  for (int64_t c = 0; c < s.out_channels; ++c)
    bias_sums[n * s.out_channels + c] = sum_plane(pixels, dy + c * pixels);
  for (int64_t p0 = 0; p0 < pixels; p0 += kc)
    kernel.pack_a_depth(dy + p0, pixels, s.out_channels, std::min(kc, pixels - p0), packed + rows * p0);
  arrange_image(s, plan, x, n, image);
}

/// sums [out_channels, taps from t0 on] (+)= dy * unfolded image^T, for one prepared image.
template <class T>
void add_image(const Conv2dShape& s, const Conv2dPlan<T>& plan, int64_t kc, T* packed, T* image, int64_t t0,
               int64_t taps, bool accumulate, T* panel, T* sums) {
  const GemmKernels<T>& kernel = gemm_kernels().of<T>();
  const int64_t pixels = s.out_pixels(), rows = round_up(s.out_channels, kernel.mr);
  for (int64_t p0 = 0; p0 < pixels; p0 += kc) {
    const int64_t depth = std::min(kc, pixels - p0);
    for (int64_t t = t0; t < t0 + taps; t += kernel.nr) {
      const int64_t count = std::min(kernel.nr, t0 + taps - t);
      if (by_channels<T>(s))
        copy_taps(s, plan, image, t, p0, depth, panel);
      else
        conv2d_kernels().of<T>().unfold_taps(plan.unfold(plan.origin(image), p0, depth, t, count, panel));
      kernel.block({s.out_channels, count, depth, packed + rows * p0, panel, sums + t, s.depth(), nullptr,
                    nullptr, accumulate || p0 > 0, false});
    }
  }
}

}  // namespace

template <class T>
void add_columns(const Conv2dShape& s, int64_t channels, const T* columns, T* dx) {
  const int64_t padded_height = s.height + 2 * s.padding, padded_width = s.width + 2 * s.padding,
                plane = padded_height * padded_width;
  const Scratch<T> padded(channels * plane);
  std::fill_n(padded.data(), channels * plane, T{0});
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t r = 0; r < s.kernel_h; ++r) {
      for (int64_t q = 0; q < s.kernel_w; ++q) {
        for (int64_t y = 0; y < s.out_height(); ++y, columns += s.out_width()) {
          T* to = padded.data() + c * plane + (y * s.stride + r) * padded_width + q;
          if (s.stride == 1)
            for (int64_t x = 0; x < s.out_width(); ++x) to[x] += columns[x];
          else
            for (int64_t x = 0; x < s.out_width(); ++x) to[x * s.stride] += columns[x];
        }
      }
    }
  }
  for (int64_t row = 0; row < channels * s.height; ++row) {
    const int64_t from =
        (row / s.height * padded_height + row % s.height + s.padding) * padded_width + s.padding;
    std::copy_n(padded.data() + from, s.width, dx + row * s.width);
  }
}

template <class T>
void conv2d_backward_input(const Conv2dShape& s, const T* weight, const Conv2dGradient<T>& gradient, T* dx,
                           int64_t copies) {
  check_conv2d(s);
  const bool square = s.kernel_h == s.kernel_w, fits = s.padding <= s.kernel_h - 1;
  const int64_t pool = gradient.argmax ? 2 : 1;
  const int64_t dy_size = s.batch * s.out_channels * (s.out_height() / pool) * (s.out_width() / pool);
  for (int64_t copy = 0; copy < copies; ++copy, dx += s.batch * s.in_channels * s.in_pixels()) {
    const Conv2dGradient<T> one{gradient.dy + copy * dy_size, gradient.output, gradient.argmax};
    if (s.stride == 1 && square && fits && s.in_channels > 3)
      backward_input_convolve(s, weight, one, dx);
    else
      backward_input_columns(s, weight, one, dx);
  }
}

template <class T>
void conv2d_backward_weight(const Conv2dShape& s, const T* x, const Conv2dGradient<T>& gradient, T* dweight,
                            T* dbias) {
  check_conv2d(s);
  if (s.batch == 0) {
    if (dweight) std::fill_n(dweight, s.out_channels * s.depth(), T{0});
    if (dbias) std::fill_n(dbias, s.out_channels, T{0});
    return;
  }
  if constexpr (std::is_same_v<T, float>) {
    if (const int parts = parts_wanted<T>())
      return backward_weight_pairs(parts, s, x, gradient, dweight, dbias);
  }
  const GemmKernels<T>& kernel = gemm_kernels().of<T>();
  const Conv2dPlan<T> plan(s);
  const int64_t k = s.depth(), weights = s.out_channels * k;
  const int64_t packed_size = round_up(s.out_channels, kernel.mr) * s.out_pixels(),
                arranged_size = image_size(s, plan);
  const WeightBlocks b = weight_blocks<T>(s, packed_size + arranged_size);
  const Scratch<T> packed(b.chunks * b.stripe * packed_size), arranged(b.chunks * b.stripe * arranged_size);
  const Scratch<T> sums(b.chunks * weights), bias_sums(s.batch * s.out_channels);

  for (int64_t first = 0; first < b.chunk; first += b.stripe) {
    const int64_t count = std::min(b.stripe, b.chunk - first);  // images of each chunk in this stripe
    parallel_for(b.chunks * count, [&](int64_t i) {
      const int64_t n = i / count * b.chunk + first + i % count;
      if (n < s.batch)
        prepare_image(s, plan, x, gradient, n, b.depth, packed.data() + i * packed_size,
                      arranged.data() + i * arranged_size, bias_sums.data());
    });
    parallel_for(dweight ? b.chunks * b.tap_blocks : 0, [&](int64_t task) {
      const int64_t chunk = task / b.tap_blocks, t0 = task % b.tap_blocks * b.taps,
                    taps = std::min(b.taps, k - t0);
      const Scratch<T> panel(kernel.nr * b.depth);
      for (int64_t i = 0; i < count && chunk * b.chunk + first + i < s.batch; ++i) {
        const int64_t at = chunk * count + i;
        add_image(s, plan, b.depth, packed.data() + at * packed_size, arranged.data() + at * arranged_size,
                  t0, taps, first + i > 0, panel.data(), sums.data() + chunk * weights);
      }
    });
  }
  const std::vector<int64_t> order = tap_order<T>(s);
  parallel_for(dweight ? s.out_channels : 0, [&](int64_t o) {
    for (int64_t i = 0; i < k; ++i) {
      const T* sum = sums.data() + o * k + order[static_cast<size_t>(i)];
      T total{0};
      for (int64_t c = 0; c < b.chunks; ++c) total += sum[c * weights];
      dweight[o * k + i] = total;
    }
  });
  if (dbias) sum_columns(s.batch, s.out_channels, bias_sums.data(), dbias);
}

#define INSTANTIATE(T)                                                                                      \
  template void add_columns(const Conv2dShape&, int64_t, const T*, T*);                                     \
  template void conv2d_backward_input(const Conv2dShape&, const T*, const Conv2dGradient<T>&, T*, int64_t); \
  template void conv2d_backward_weight(const Conv2dShape&, const T*, const Conv2dGradient<T>&, T*, T*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace hashgrad::cpu
