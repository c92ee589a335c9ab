#include "cpu/conv2d_pooled.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "core/parallel.h"
#include "cpu/blocking.h"
#include "cpu/conv2d_plan.h"
#include "cpu/gemm_pairs.h"
#include "cpu/pooled_kernels.h"
#include "cpu/reduce.h"
#include "cpu/scratch.h"
#include "cpu/units.h"

namespace hashgrad::cpu {
namespace {

constexpr int64_t widest_vector = 16;

/// The arrivals of one image: those of channel o and band b from o * windows + the band's first window on.
template <class T>
struct ImageArrivals {
  int32_t* at;      // [out_channels * windows + widest_vector]
  T* value;         // likewise
  int64_t* counts;  // [bands, out_channels]
};

/// Where windows, bands of them and channels lie. An image is [blocks][padded height][padded width][lanes]; a
/// band is some rows of windows whose part of a block stays in L1 while all output channels pass.
template <class T>
class PooledPlan {
 public:
  explicit PooledPlan(const Conv2dShape& s)
      : s_(s),
        width_(s.out_width() / 2),
        windows_(s.out_height() / 2 * width_),
        row_((s.width + 2 * s.padding) * lanes()),
        plane_((s.height + 2 * s.padding) * row_),
        blocks_(divide_up(s.in_channels, lanes())) {
    constexpr int64_t band_bytes = 32 * 1024, most_bytes = 64;  // of a pixel: the same bands on every machine
    const int64_t rows =
        std::max<int64_t>(1, band_bytes / (2 * s.stride * (s.width + 2 * s.padding) * most_bytes));
    for (int64_t y = 0; y < s.out_height() / 2; ++y) {
      if (y % rows == 0) bands_.push_back(y * width_);
      for (int64_t x = 0; x < width_; ++x)
        origin_.push_back(static_cast<int32_t>(2 * s.stride * (y * row_ + x * lanes())));
    }
    bands_.push_back(windows_);
  }

  static const PooledKernels<T>& kernel() { return pooled_kernels().of<T>(); }
  static int64_t lanes() { return kernel().lanes; }
  int64_t blocks() const { return blocks_; }
  int64_t row() const { return row_; }      // elements of a row of pixels
  int64_t plane() const { return plane_; }  // of a block of channels
  int64_t bands() const { return static_cast<int64_t>(bands_.size()) - 1; }
  int64_t arrivals() const { return s_.out_channels * windows_ + widest_vector; }
  int64_t counts() const { return bands() * s_.out_channels; }
  int64_t taps() const { return s_.kernel_h * s_.kernel_w * lanes(); }  // elements of weights of one block
  int64_t channels_of(int64_t block) const { return std::min(lanes(), s_.in_channels - block * lanes()); }

  /// Lists image n of a gradient whose dy holds several stacked ones; its outputs are those of image `of`.
  void list(const Conv2dGradient<T>& gradient, int64_t n, int64_t of, const ImageArrivals<T>& out) const {
    const auto step = static_cast<int32_t>(s_.stride);
    for (int64_t o = 0; o < s_.out_channels; ++o)
      for (int64_t b = 0; b < bands(); ++b) {
        const int64_t first = bands_[static_cast<size_t>(b)], last = bands_[static_cast<size_t>(b) + 1];
        const int64_t here = o * windows_ + first, from = n * s_.out_channels * windows_ + here,
                      output = of * s_.out_channels * windows_ + here;
        out.counts[b * s_.out_channels + o] = kernel().list(
            last - first, gradient.dy + from, gradient.output + output, gradient.argmax + output,
            origin_.data() + first, step * static_cast<int32_t>(lanes()), step * static_cast<int32_t>(row_),
            out.at + here, out.value + here);
      }
  }

  Arrivals<T> of(const ImageArrivals<T>& image, int64_t band, int64_t o) const {
    const int64_t here = o * windows_ + bands_[static_cast<size_t>(band)];
    return {image.at + here, image.value + here, image.counts[band * s_.out_channels + o]};
  }

  /// One block of channels of an image, padded; and back without its borders.
  void arrange(const T* x, int64_t block, T* pixels) const {
    x += block * lanes() * s_.in_pixels();
    if (s_.padding == 0)
      return kernel().to_lanes(s_.in_pixels(), channels_of(block), x, s_.in_pixels(), pixels);
    std::fill_n(pixels, plane_, T{0});
    for_rows([&](int64_t y, int64_t inside) {
      kernel().to_lanes(s_.width, channels_of(block), x + y * s_.width, s_.in_pixels(), pixels + inside);
    });
  }
  void deliver(const T* pixels, int64_t block, T* dx) const {
    dx += block * lanes() * s_.in_pixels();
    if (s_.padding == 0)
      return kernel().from_lanes(s_.in_pixels(), channels_of(block), pixels, dx, s_.in_pixels());
    for_rows([&](int64_t y, int64_t inside) {
      kernel().from_lanes(s_.width, channels_of(block), pixels + inside, dx + y * s_.width, s_.in_pixels());
    });
  }

 private:
  template <class Body>
  void for_rows(const Body& body) const {
    for (int64_t y = 0; y < s_.height; ++y) body(y, (y + s_.padding) * row_ + s_.padding * lanes());
  }

  Conv2dShape s_;
  int64_t width_, windows_, row_, plane_, blocks_;
  std::vector<int32_t> origin_;  // where the first tap of each window's first output lies
  std::vector<int64_t> bands_;   // the first window of each, and the end
};

/// Room for the arrivals of some images.
template <class T>
class ArrivalLists {
 public:
  ArrivalLists(const PooledPlan<T>& plan, int64_t images)
      : arrivals_(plan.arrivals()),
        counts_per_image_(plan.counts()),
        at_(images * arrivals_),
        values_(images * arrivals_),
        counts_(images * counts_per_image_) {}
  ImageArrivals<T> operator[](int64_t image) const {
    return {at_.data() + image * arrivals_, values_.data() + image * arrivals_,
            counts_.data() + image * counts_per_image_};
  }

 private:
  int64_t arrivals_, counts_per_image_;
  Scratch<int32_t> at_;
  Scratch<T> values_;
  Scratch<int64_t> counts_;
};

/// lanes [blocks, out_channels, kernel_h, kernel_w, lanes] = weight, zeros for missing channels.
template <class T>
void weights_to_lanes(const Conv2dShape& s, const PooledPlan<T>& plan, const T* weight, T* lanes) {
  const int64_t window = s.kernel_h * s.kernel_w;
  parallel_for_unless(is_small(0, s.out_channels * s.depth()), s.out_channels, [&](int64_t o) {
    for (int64_t b = 0; b < plan.blocks(); ++b)
      plan.kernel().to_lanes(window, plan.channels_of(b), weight + o * s.depth() + b * plan.lanes() * window,
                             window, lanes + (b * s.out_channels + o) * plan.taps());
  });
}

/// How the weight gradient is cut: the batch into chunks with sums of their own, which are added in order;
/// output channels into blocks, each of which reads the images again. A function of the shape alone.
struct Cut {
  int64_t channels, channel_blocks, chunk;  // of a task; tasks for all of them; images
};

Cut cut(const Conv2dShape& s) {
  constexpr int64_t tasks = 16,
                    sum_passes = 8;  // a sum is cleared, brought in and out, added: about eight reads
  const int64_t sums = s.out_channels * s.depth(), images = s.batch * s.in_channels * s.in_pixels();
  int64_t chunks = tasks;
  while (chunks > 1 && sum_passes * sums * chunks / 2 > images * tasks / chunks) chunks /= 2;
  Cut c{};
  c.channels = divide_up(s.out_channels, tasks / chunks);
  c.channel_blocks = divide_up(s.out_channels, c.channels);
  c.chunk = divide_up(s.batch, std::min(chunks, s.batch));
  return c;
}

/// sums [out_channels] = what arrives of one image.
template <class T>
void sum_arrivals(const Conv2dShape& s, const PooledPlan<T>& plan, const ImageArrivals<T>& arrivals,
                  T* sums) {
  for (int64_t o = 0; o < s.out_channels; ++o) {
    sums[o] = T{0};
    for (int64_t band = 0; band < plan.bands(); ++band) {
      const Arrivals<T> a = plan.of(arrivals, band, o);
      sums[o] += sum_plane(a.count, a.value);
    }
  }
}

/// sums [blocks, out_channels, taps, lanes] += the products of one image, for output channels [o0, o1).
template <class T>
void add_image(const Conv2dShape& s, const PooledPlan<T>& plan, const ImageArrivals<T>& arrivals,
               const T* pixels, int64_t o0, int64_t o1, T* sums) {
  for (int64_t block = 0; block < plan.blocks(); ++block)
    for (int64_t band = 0; band < plan.bands(); ++band)
      for (int64_t o = o0; o < o1; ++o)
        plan.kernel().gather(s.kernel_h, plan.of(arrivals, band, o), pixels + block * plan.plane(),
                             plan.row(), sums + (block * s.out_channels + o) * plan.taps());
}

/// dweight = the chunks' sums, added in order.
template <class T>
void add_chunks(const Conv2dShape& s, const PooledPlan<T>& plan, int64_t chunks, T* sums, T* dweight) {
  const int64_t size = plan.blocks() * s.out_channels * plan.taps(), window = s.kernel_h * s.kernel_w;
  parallel_for_unless(is_small(0, chunks * size), s.out_channels, [&](int64_t o) {
    for (int64_t block = 0; block < plan.blocks(); ++block) {
      T* first = sums + (block * s.out_channels + o) * plan.taps();
      for (int64_t c = 1; c < chunks; ++c)
        for (int64_t i = 0; i < plan.taps(); ++i) first[i] += first[c * size + i];
      plan.kernel().from_lanes(window, plan.channels_of(block), first,
                               dweight + o * s.depth() + block * plan.lanes() * window, window);
    }
  });
}

}  // namespace

template <class T>
bool pooled_gradient_fits(const Conv2dShape& s) {
  constexpr int64_t fewest_windows = 8, many_channels = 32;  // fill a tile of pairs
  const int parts = parts_wanted<T>();
  if (parts == 1 && !fewer_products_pay(parts)) return false;
  if (parts == 2 && s.in_channels >= many_channels) return false;
  return s.kernel_h == s.kernel_w && (s.kernel_h == 3 || s.kernel_h == 5) && s.in_channels >= 8 &&
         (s.out_height() / 2) * (s.out_width() / 2) >= fewest_windows &&
         (s.height + 2 * s.padding) * (s.width + 2 * s.padding) <
             std::numeric_limits<int32_t>::max() / widest_vector;
}

template <class T>
void backward_input_pooled(const Conv2dShape& s, const T* weight, const Conv2dGradient<T>& gradient, T* dx,
                           int64_t copies) {
  const PooledPlan<T> plan(s);
  const Scratch<T> lanes(plan.blocks() * s.out_channels * plan.taps());
  weights_to_lanes(s, plan, weight, lanes.data());
  const int64_t images = copies * s.batch, parts = images < 8 ? plan.blocks() : 1;  // few: blocks apart
  parallel_for(images * parts, [&](int64_t task) {
    const int64_t n = task / parts, first = task % parts, blocks = plan.blocks() / parts;
    const ArrivalLists<T> arrivals(plan, 1);
    const Scratch<T> pixels(plan.plane());
    plan.list(gradient, n, n % s.batch, arrivals[0]);
    for (int64_t block = first; block < first + blocks; ++block) {
      std::fill_n(pixels.data(), plan.plane(), T{0});
      for (int64_t band = 0; band < plan.bands(); ++band)
        for (int64_t o = 0; o < s.out_channels; ++o)
          plan.kernel().scatter(s.kernel_h, plan.of(arrivals[0], band, o),
                                lanes.data() + (block * s.out_channels + o) * plan.taps(), pixels.data(),
                                plan.row());
      plan.deliver(pixels.data(), block, dx + n * s.in_channels * s.in_pixels());
    }
  });
}

template <class T>
void backward_weight_pooled(const Conv2dShape& s, const T* x, const Conv2dGradient<T>& gradient, T* dweight,
                            T* dbias) {
  const PooledPlan<T> plan(s);
  const Cut c = cut(s);
  const int64_t x_size = plan.blocks() * plan.plane(), size = plan.blocks() * s.out_channels * plan.taps();
  const int64_t bytes = (x_size + 2 * plan.arrivals()) * static_cast<int64_t>(sizeof(T));
  const Units units = units_of(s.batch, c.chunk, bytes);
  const ArrivalLists<T> arrivals(plan, units.slots());
  const Scratch<T> pixels(units.slots() * x_size), sums(dweight ? units.chunks * size : 0);
  const Scratch<T> bias_sums(dbias ? s.batch * s.out_channels : 0);
  if (dweight) std::fill_n(sums.data(), units.chunks * size, T{0});
  for_units(
      units, 1,
      [&](int64_t n, int64_t slot, int64_t) {
        plan.list(gradient, n, n, arrivals[slot]);
        if (dbias) sum_arrivals(s, plan, arrivals[slot], bias_sums.data() + n * s.out_channels);
        for (int64_t block = 0; dweight && block < plan.blocks(); ++block)
          plan.arrange(x + n * s.in_channels * s.in_pixels(), block,
                       pixels.data() + slot * x_size + block * plan.plane());
      },
      dweight ? c.channel_blocks : 0,
      [&](int64_t, int64_t slot, int64_t chunk, int64_t task, bool) {
        const int64_t o0 = task * c.channels;
        add_image(s, plan, arrivals[slot], pixels.data() + slot * x_size, o0,
                  std::min(o0 + c.channels, s.out_channels), sums.data() + chunk * size);
      });
  if (dweight) add_chunks(s, plan, units.chunks, sums.data(), dweight);
  if (dbias) sum_columns(s.batch, s.out_channels, bias_sums.data(), dbias);
}

#define INSTANTIATE(T)                                                                                      \
  template bool pooled_gradient_fits<T>(const Conv2dShape&);                                                \
  template void backward_input_pooled(const Conv2dShape&, const T*, const Conv2dGradient<T>&, T*, int64_t); \
  template void backward_weight_pooled(const Conv2dShape&, const T*, const Conv2dGradient<T>&, T*, T*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace hashgrad::cpu
