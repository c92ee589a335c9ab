#include <algorithm>
#include <type_traits>
#include <vector>

#include "core/parallel.h"
#include "cpu/blocking.h"
#include "cpu/conv2d.h"
#include "cpu/conv2d_pairs.h"
#include "cpu/conv2d_plan.h"
#include "cpu/conv2d_pooled.h"
#include "cpu/few_channels_kernels.h"
#include "cpu/kernels.h"
#include "cpu/reduce.h"
#include "cpu/scratch.h"
#include "cpu/units.h"
#include "cpu/winograd.h"

namespace hashgrad::cpu {
namespace {

/// dx of a convolution of stride 1 is a convolution of dy with the kernels turned by 180 degrees and the two
/// channel axes exchanged, padded so that every input pixel sees every output it took part in.
Conv2dShape transposed_of(const Conv2dShape& s) {
  return {s.batch,
          s.out_channels,
          s.out_height(),
          s.out_width(),
          s.in_channels,
          s.kernel_h,
          s.kernel_w,
          1,
          s.kernel_h - 1 - s.padding};
}
/// Whether dx goes that way: few channels do not (backward_input_columns()).
bool by_convolution(const Conv2dShape& s) {
  return s.stride == 1 && s.kernel_h == s.kernel_w && s.padding <= s.kernel_h - 1 &&
         s.in_channels > FewChannels<float>::most_channels;
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
      kernel.block({.rows = rows,
                    .columns = pixels,
                    .depth = depth,
                    .a = packed.data() + padded_rows * (g * s.out_channels + k0),
                    .b = panels.data(),
                    .c = columns.data(),
                    .ldc = pixels,
                    .accumulate = k0 > 0});
    }
    for (int64_t c = 0; c < channels; ++c)
      add_columns(s, columns.data() + c * window * pixels, pixels,
                  dx + (n * s.in_channels + g * group + c) * s.in_pixels());
  });
}

/// Whether dx is that of a first layer (cpu/few_channels_kernels.h). A function of the shape of one image, so
/// that the bits are the same on every instruction set that rounds a product and a sum at once.
template <class T>
bool few_channels_fit(const Conv2dShape& s) {
  using F = FewChannels<T>;
  const bool same = s.kernel_h == s.kernel_w && s.stride == 1 && s.padding == s.kernel_h / 2;
  return same && (s.kernel_h == 3 || s.kernel_h == 5) && s.in_channels <= F::most_channels &&
         s.height >= F::least_height && s.width >= F::least_width;
}

template <class T>
void backward_input_few_channels(const Conv2dShape& s, const T* weight, const Conv2dGradient<T>& gradient,
                                 T* dx) {
  parallel_for(s.batch, [&](int64_t n) {
    const Scratch<T> buffer(s.out_channels * s.in_pixels()), sums(FewChannels<T>::sums_size(s.width));
    const T* dy = whole_image(gradient, n, s.out_channels, s.height, s.width, buffer.data());
    few_channels_kernels().of<T>().input_gradient({dy, weight, s.out_channels, s.in_channels, s.kernel_h,
                                                   s.height, s.width, dx + n * s.in_channels * s.in_pixels(),
                                                   sums.data()});
  });
}

/// How the weight gradient is cut. A unit is an image, or so many small ones side by side that their pixels
/// make a deep product. Units come in stripes that are packed for all threads, taps in blocks, and, when
/// there are few taps, the batch in chunks with sums of their own. A function of the shape alone.
struct WeightBlocks {
  int64_t images, units;  // per unit, per batch
  int64_t depth, taps, tap_blocks, chunk;
};

template <class T>
WeightBlocks weight_blocks(const Conv2dShape& s) {
  constexpr int64_t deep = 256, sums_of_a_task = 256 * 1024;  // 1 MB of floats stays in L2 while units pass
  const GemmKernels<T>& kernel = gemm_kernels().of<T>();
  WeightBlocks b{};
  b.images = std::clamp<int64_t>(deep / s.out_pixels(), 1, s.batch);
  b.units = divide_up(s.batch, b.images);
  b.depth = block_depth(b.images * s.out_pixels());
  b.tap_blocks = divide_up(s.out_channels * s.depth(), sums_of_a_task);
  b.taps = round_up(divide_up(s.depth(), b.tap_blocks), kernel.nr);
  b.tap_blocks = divide_up(s.depth(), b.taps);
  b.chunk = divide_up(b.units, std::min(divide_up(16, b.tap_blocks), b.units));
  return b;
}

/// The weight gradient of one layer: what its tasks share. Where the channels are whole panels, x is arranged
/// as [channels / nr][padded plane][nr]: the panel of nr channels at one place of the kernel is then rows of
/// that, read where they lie, which would otherwise be transposed anew for every place.
template <class T>
class WeightGradient {
 public:
  explicit WeightGradient(const Conv2dShape& s)
      : s_(s),
        by_channels_(s.in_channels % kernel().nr == 0),
        b_(weight_blocks<T>(s)),
        plan_(s, by_channels_ ? 1 : b_.images),
        plane_(plan_.padded_height() * plan_.padded_width()),
        dy_size_(round_up(s.out_channels, kernel().mr) * b_.images * s.out_pixels()),
        x_size_(by_channels_ ? b_.images * s.in_channels * plane_ : plan_.buffer_size()) {
    if (!by_channels_) return;
    std::vector<int64_t> in_plane = pixel_offsets(s, 1);
    in_plane.resize(static_cast<size_t>(s.out_pixels()));
    for (int64_t i = 0; i < b_.images; ++i)
      for (const int64_t at : in_plane) rows_.push_back((i * s.in_channels * plane_ + at * kernel().nr));
  }

  const WeightBlocks& blocks() const { return b_; }
  int64_t dy_size() const { return dy_size_; }  // elements of a prepared unit
  int64_t x_size() const { return x_size_; }
  Units units() const {
    return units_of(b_.units, b_.chunk, (dy_size_ + x_size_) * static_cast<int64_t>(sizeof(T)));
  }

  /// One unit made ready: dy packed as operand A, x arranged, and the sums of each image's dy where wanted.
  void prepare(int64_t unit, const T* x, const Conv2dGradient<T>& gradient, T* packed, T* arranged,
               T* bias_sums) const {
    const int64_t n = unit * b_.images, pixels = s_.out_pixels(), k = images_of(unit) * pixels;
    const Scratch<T> buffer(s_.out_channels * k);
    const T* dy = side_by_side(gradient, n, images_of(unit), buffer.data());  // [out_channels, k]
    for (int64_t i = 0; bias_sums && i < images_of(unit); ++i)
      for (int64_t c = 0; c < s_.out_channels; ++c)
        bias_sums[(n + i) * s_.out_channels + c] = sum_plane(pixels, dy + c * k + i * pixels);
    for (int64_t p0 = 0; p0 < k; p0 += b_.depth)
      kernel().pack_a_depth(dy + p0, k, s_.out_channels, std::min(b_.depth, k - p0),
                            packed + round_up(s_.out_channels, kernel().mr) * p0);
    arrange(x, n, images_of(unit), arranged);
  }

  /// sums [out_channels, taps from t0 on] (+)= dy * unfolded images^T, for one prepared unit.
  void add(int64_t unit, int64_t t0, int64_t taps, const T* packed, const T* arranged, bool accumulate,
           T* sums) const {
    const int64_t k = images_of(unit) * s_.out_pixels(), rows = round_up(s_.out_channels, kernel().mr);
    const Scratch<T> buffer(by_channels_ ? 0 : kernel().nr * b_.depth);
    for (int64_t p0 = 0; p0 < k; p0 += b_.depth) {
      for (int64_t t = t0; t < t0 + taps; t += kernel().nr) {
        GemmBlock<T> block{.rows = s_.out_channels,
                           .columns = std::min(kernel().nr, t0 + taps - t),
                           .depth = std::min(b_.depth, k - p0),
                           .a = packed + rows * p0,
                           .b = by_channels_ ? arranged + at_tap(t) : buffer.data(),
                           .c = sums + t,
                           .ldc = s_.depth(),
                           .accumulate = accumulate || p0 > 0};
        if (by_channels_) {
          block.b_offsets = rows_.data() + p0;
          block.b_second = kernel().nr / 2;
        } else {
          conv2d_kernels().of<T>().unfold_taps(
              plan_.unfold(plan_.origin(arranged), p0, block.depth, t, block.columns, buffer.data()));
        }
        kernel().block(block);
      }
    }
  }

  /// Where the gradients of an output's weights (channel, row and column of the kernel) stand in the sums: by
  /// channels, taps are numbered by (panel of channels, place, channel in the panel).
  std::vector<int64_t> tap_order() const {
    const int64_t nr = by_channels_ ? kernel().nr : 1, window = s_.kernel_h * s_.kernel_w;
    std::vector<int64_t> order;
    for (int64_t c = 0; c < s_.in_channels; ++c)
      for (int64_t place = 0; place < window; ++place)
        order.push_back((c / nr * window + place) * nr + c % nr);
    return order;
  }

 private:
  static const GemmKernels<T>& kernel() { return gemm_kernels().of<T>(); }
  int64_t images_of(int64_t unit) const { return std::min(b_.images, s_.batch - unit * b_.images); }

  /// The gradients of some images as [out_channels, images, pixels]: in place when that is how they lie.
  const T* side_by_side(const Conv2dGradient<T>& gradient, int64_t n, int64_t images, T* buffer) const {
    const int64_t o = s_.out_channels, height = s_.out_height(), width = s_.out_width();
    if (images == 1) return whole_image(gradient, n, o, height, width, buffer);
    for (int64_t i = 0; i < images; ++i)
      write_image(gradient, n + i, o, height, width, buffer + i * height * width, width,
                  images * height * width);
    return buffer;
  }

  /// x padded, as add() reads it.
  void arrange(const T* x, int64_t n, int64_t images, T* out) const {
    if (!by_channels_) return plan_.pad({x}, n, images, out);
    const int64_t nr = kernel().nr, panels = images * s_.in_channels / nr;
    for (int64_t i = 0; i < panels; ++i)
      arrange_by_channels(s_, x + (n * s_.in_channels + i * nr) * s_.in_pixels(), nr, nr,
                          out + i * nr * plane_);
  }

  /// Where the panel of taps from t on starts in an image arranged by channels.
  int64_t at_tap(int64_t t) const {
    const int64_t nr = kernel().nr, window = s_.kernel_h * s_.kernel_w, place = t / nr % window;
    return (t / nr / window * plane_ + place / s_.kernel_w * plan_.padded_width() + place % s_.kernel_w) * nr;
  }

  Conv2dShape s_;
  bool by_channels_;
  WeightBlocks b_;
  Conv2dPlan<T> plan_;
  int64_t plane_, dy_size_, x_size_;
  std::vector<int64_t> rows_;  // by channels: where each pixel of a unit lies in the plane of a panel
};

}  // namespace

template <class T>
void conv2d_backward_input(const Conv2dShape& s, const T* weight, const Conv2dGradient<T>& gradient, T* dx,
                           int64_t copies) {
  check_conv2d(s);
  const int parts = parts_wanted<T>();
  // In bf16 the products of Winograd's way are cheaper than the fewer ones in float of what pooling leaves.
  const bool winograd = parts == 1 && by_convolution(s) && winograd_fits(transposed_of(s), parts);
  if (gradient.argmax && pooled_gradient_fits<T>(s) && !winograd)
    return backward_input_pooled(s, weight, gradient, dx, copies);
  const int64_t pool = gradient.argmax ? 2 : 1;
  const int64_t dy_size = s.batch * s.out_channels * (s.out_height() / pool) * (s.out_width() / pool);
  for (int64_t copy = 0; copy < copies; ++copy, dx += s.batch * s.in_channels * s.in_pixels()) {
    const Conv2dGradient<T> one{gradient.dy + copy * dy_size, gradient.output, gradient.argmax,
                                gradient.mask};
    if (few_channels_fit<T>(s) && fewer_products_pay(parts))
      backward_input_few_channels(s, weight, one, dx);
    else if (by_convolution(s))
      convolve<T>(transposed_of(s), one, {weight, true}, {.y = dx});
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
  if (gradient.argmax && pooled_gradient_fits<T>(s))
    return backward_weight_pooled(s, x, gradient, dweight, dbias);
  if constexpr (std::is_same_v<T, float>) {
    const int parts = parts_wanted<T>();
    if (winograd_weight_fits(s, parts))
      return backward_weight_winograd(parts, s, x, gradient, dweight, dbias);
    if (parts) return backward_weight_pairs(parts, s, x, gradient, dweight, dbias);
  }
  const WeightGradient<T> layer(s);
  const WeightBlocks& b = layer.blocks();
  const Units units = layer.units();
  const int64_t k = s.depth(), weights = s.out_channels * k;
  const Scratch<T> packed(units.slots() * layer.dy_size()), arranged(units.slots() * layer.x_size());
  const Scratch<T> sums(units.chunks * weights), bias_sums(dbias ? s.batch * s.out_channels : 0);
  for_units(
      units, 1,
      [&](int64_t unit, int64_t slot, int64_t) {
        layer.prepare(unit, x, gradient, packed.data() + slot * layer.dy_size(),
                      arranged.data() + slot * layer.x_size(), dbias ? bias_sums.data() : nullptr);
      },
      dweight ? b.tap_blocks : 0,
      [&](int64_t unit, int64_t slot, int64_t chunk, int64_t task, bool first) {
        const int64_t t0 = task * b.taps;
        layer.add(unit, t0, std::min(b.taps, k - t0), packed.data() + slot * layer.dy_size(),
                  arranged.data() + slot * layer.x_size(), !first, sums.data() + chunk * weights);
      });
  const std::vector<int64_t> order = layer.tap_order();
  parallel_for(dweight ? s.out_channels : 0, [&](int64_t o) {
    for (int64_t i = 0; i < k; ++i) {
      const T* sum = sums.data() + o * k + order[static_cast<size_t>(i)];
      T total{0};
      for (int64_t c = 0; c < units.chunks; ++c) total += sum[c * weights];
      dweight[o * k + i] = total;
    }
  });
  if (dbias) sum_columns(s.batch, s.out_channels, bias_sums.data(), dbias);
}

#define INSTANTIATE(T)                                                                                      \
  template void conv2d_backward_input(const Conv2dShape&, const T*, const Conv2dGradient<T>&, T*, int64_t); \
  template void conv2d_backward_weight(const Conv2dShape&, const T*, const Conv2dGradient<T>&, T*, T*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace hashgrad::cpu
