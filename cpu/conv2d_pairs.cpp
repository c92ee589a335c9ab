#include "cpu/conv2d_pairs.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "core/parallel.h"
#include "cpu/blocking.h"
#include "cpu/kept_panels.h"
#include "cpu/reduce.h"
#include "cpu/scratch.h"

namespace hashgrad::cpu {
namespace {

constexpr int64_t slack = 64;  // readable words behind the last plane

/// The convolution whose channels are pairs of channels.
Conv2dShape paired(Conv2dShape s) {
  s.in_channels = divide_up(s.in_channels, 2);
  return s;
}

/// Groups the outputs of a panel into runs of neighbours.
std::vector<PixelRuns> pixel_runs(const std::vector<int64_t>& offsets) {
  constexpr int lanes = 16;
  std::vector<PixelRuns> vectors;
  for (auto at = offsets.begin(); offsets.end() - at >= lanes; at += lanes) {
    PixelRuns runs{};
    for (int lane = 0; lane < lanes && runs.count >= 0; ++lane) {
      const bool goes_on = lane > 0 && at[lane] == at[lane - 1] + 1;
      if (!goes_on && runs.count == PixelRuns::most) {
        runs.count = -1;
      } else {
        if (!goes_on) runs.offsets[runs.count++] = at[lane] - lane;
        runs.masks[runs.count - 1] = static_cast<uint16_t>(runs.masks[runs.count - 1] | 1u << lane);
      }
    }
    runs.count = std::max(runs.count, 0);
    vectors.push_back(runs);
  }
  return vectors;
}

/// Images of one task: about 256 pixels, where the batch has enough.
int64_t images_per_task(const Conv2dShape& s) {
  return std::clamp<int64_t>(divide_up(256, s.out_pixels()), 1, std::max<int64_t>(1, s.batch / 8));
}

/// A few padded images as pairs of channels [part][image][pair][padded plane], and where outputs and taps
/// lie.
class PairImages {
 public:
  PairImages(int parts, const Conv2dShape& shape, int64_t images)
      : parts_(parts),
        shape_(shape),
        plane_((shape.height + 2 * shape.padding) * (shape.width + 2 * shape.padding)),
        part_stride_(images * paired(shape).in_channels * plane_ + slack),
        pixels_(pixel_offsets(paired(shape), images)),
        taps_(tap_offsets(paired(shape))),
        runs_(pixel_runs(pixels_)) {}

  /// Words of a buffer for the images.
  int64_t size() const { return parts_ * part_stride_; }

  /// Brings images n, n + 1, ... into `pairs`.
  void fill(const Conv2dGradient<float>& source, int64_t n, int64_t images, uint32_t* pairs) const {
    const int64_t pixels = shape_.in_pixels(), width = shape_.width + 2 * shape_.padding;
    const Scratch<float> whole(shape_.in_channels * pixels);
    std::fill_n(pairs, size(), 0u);
    uint32_t* out = pairs + shape_.padding * (width + 1);
    for (int64_t i = 0; i < images; ++i) {
      const float* image =
          whole_image(source, n + i, shape_.in_channels, shape_.height, shape_.width, whole.data());
      for (int64_t c = 0; c < shape_.in_channels; c += 2, out += plane_) {
        const float *even = image + c * pixels, *odd = c + 1 < shape_.in_channels ? even + pixels : nullptr;
        pair_kernels().pair_planes(
            {even, odd, shape_.height, shape_.width, parts_, out, width, part_stride_});
      }
    }
  }

  /// The panel of outputs p, p + 1, ... by taps [first_tap, first_tap + taps).
  void unfold(const uint32_t* pairs, int64_t p, int64_t first_tap, int64_t taps, uint32_t* panel) const {
    pair_kernels().unfold({pairs, part_stride_, parts_, runs_.data() + p / 16, pixels_.data() + p,
                           taps_.data() + first_tap, taps, panel});
  }

 private:
  int parts_;
  Conv2dShape shape_;
  int64_t plane_, part_stride_;
  std::vector<int64_t> pixels_, taps_;
  std::vector<PixelRuns> runs_;
};

/// The weights with channels in pairs, as operand A: block of depth after block of depth. May be kept.
class PairWeights {
 public:
  PairWeights(int parts, const Conv2dShape& s, const ConvolvedWeight<float>& weight)
      : parts_(parts),
        depth_(2 * paired(s).depth()),
        block_(pair_block_depth(depth_, parts)),
        panels_(divide_up(s.out_channels, pair_panel)),
        size_(divide_up(depth_, block_) * panels_ * pair_panel_words(block_, parts)),
        kept_(
            KeepPanels::find({weight.data, weight.turned ? PackedUse::As::pairs_turned : PackedUse::As::pairs,
                              s.out_channels, s.in_channels, parts},
                             static_cast<size_t>(size_) * sizeof(uint32_t))),
        own_(kept_.panels ? 0 : size_),
        words_(kept_.panels ? static_cast<uint32_t*>(kept_.panels) : own_.data()) {
    if (!kept_.panels || kept_.empty) fill(s, weight);
  }

  int64_t depth() const { return depth_; }
  int64_t block() const { return block_; }
  /// The panels from output channel `first` on (a multiple of pair_panel) at depth k0.
  const uint32_t* panels(int64_t k0, int64_t first) const { return words_ + at(k0, first); }

 private:
  int64_t at(int64_t k0, int64_t first) const {
    return k0 / block_ * panels_ * pair_panel_words(block_, parts_) +
           first / pair_panel * pair_panel_words(std::min(block_, depth_ - k0), parts_);
  }
  void fill(const Conv2dShape& s, const ConvolvedWeight<float>& weight) const {
    parallel_for(divide_up(depth_, block_) * panels_, [&](int64_t task) {
      const int64_t k0 = task / panels_ * block_, depth = std::min(block_, depth_ - k0);
      const int64_t first = task % panels_ * pair_panel, count = std::min(pair_panel, s.out_channels - first);
      const Scratch<float> rows(count * depth);  // [output, (pair of channels, row, column), 2]
      gather(s, weight, first, count, k0, depth, rows.data());
      pair_kernels().pack_a({rows.data(), depth, 1, count, depth, parts_}, words_ + at(k0, first));
    });
  }
  /// The weights of a panel at depth [k0, k0 + depth), which may begin and end within a kernel.
  static void gather(const Conv2dShape& s, const ConvolvedWeight<float>& weight, int64_t first, int64_t count,
                     int64_t k0, int64_t depth, float* rows) {
    const int64_t window = s.kernel_h * s.kernel_w;
    const int64_t output = (weight.turned ? 1 : s.in_channels) * window,
                  channel = (weight.turned ? s.out_channels : 1) * window;  // from one to the next
    int64_t c = k0 / 2 / window * 2, place = k0 / 2 % window;
    for (int64_t k = 0; k < depth; k += 2) {
      const float* from =
          weight.data + first * output + c * channel + (weight.turned ? window - 1 - place : place);
      const bool lone = c + 1 == s.in_channels;
      for (int64_t i = 0; i < count; ++i) {
        rows[i * depth + k] = from[i * output];
        rows[i * depth + k + 1] = lone ? 0.0f : from[i * output + channel];
      }
      if (++place == window) place = 0, c += 2;
    }
  }

  int parts_;
  int64_t depth_, block_, panels_, size_;
  KeepPanels::Found kept_;
  Scratch<uint32_t> own_;
  uint32_t* words_;
};

/// y [channels from i0, pixels] = weight * unfolded images, some panels of pixels at a time: their sums stay
/// in L2 while blocks of depth pass by.
void convolve_block(int parts, const PairImages& images, const uint32_t* pairs, int64_t pixels,
                    const PairWeights& weights, const Conv2dEpilogue<float>& to, int64_t i0, int64_t channels,
                    float* y) {
  constexpr int64_t step = 8 * pair_panel;
  const Scratch<uint32_t> panel(pair_panel_words(weights.block(), parts));
  const Scratch<float> sums(pair_sums(channels, step));
  const PairTiles tiles;
  for (int64_t p0 = 0; p0 < pixels; p0 += step)
    for (int64_t k0 = 0; k0 < weights.depth(); k0 += weights.block()) {
      const int64_t depth = std::min(weights.block(), weights.depth() - k0);
      for (int64_t p = p0; p < std::min(p0 + step, pixels); p += pair_panel) {
        images.unfold(pairs, p, k0 / 2, depth / 2, panel.data());
        pair_kernels().block({channels, std::min(pair_panel, pixels - p), depth, parts,
                              weights.panels(k0, i0), panel.data(), sums.data() + pair_sums(channels, p - p0),
                              k0 == 0, k0 + depth == weights.depth(), y + p, pixels,
                              to.bias ? to.bias + i0 : nullptr, nullptr, false, to.relu});
      }
    }
}

}  // namespace

void convolve_pairs(int parts, const Conv2dShape& s, const Conv2dGradient<float>& source,
                    const ConvolvedWeight<float>& weight, const Conv2dEpilogue<float>& to) {
  const int64_t group = images_per_task(s);
  const PairImages plan(parts, s, group);
  const PairWeights weights(parts, s, weight);
  // A large batch is split by images; a small one by blocks of output channels too.
  const int64_t block = s.batch >= 8 ? s.out_channels : round_up(divide_up(s.out_channels, 4), pair_panel);
  const int64_t blocks = divide_up(s.out_channels, block);
  const Delivery<float> deliver(s, to);
  parallel_for(divide_up(s.batch, group) * blocks, [&](int64_t task) {
    const int64_t n = task / blocks * group, images = std::min(group, s.batch - n),
                  pixels = images * s.out_pixels();
    const int64_t i0 = task % blocks * block, channels = std::min(block, s.out_channels - i0);
    const Scratch<uint32_t> pairs(plan.size());
    plan.fill(source, n, images, pairs.data());
    const bool in_place = to.in_place(images);
    const Scratch<float> buffer(in_place ? 0 : channels * pixels);
    float* y = in_place ? to.y + (n * s.out_channels + i0) * pixels : buffer.data();
    convolve_block(parts, plan, pairs.data(), pixels, weights, to, i0, channels, y);
    if (!in_place || to.norm) deliver(y, n, images, i0, channels);
  });
}

void backward_input_columns_pairs(int parts, const Conv2dShape& s, const float* weight,
                                  const Conv2dGradient<float>& gradient, float* dx) {
  const int64_t window = s.kernel_h * s.kernel_w, pixels = s.out_pixels(), k = s.out_channels;
  const int64_t most = std::clamp<int64_t>(s.batch, 1, images_per_task(s)),
                step = most * pixels;  // images side by side
  const int64_t group = std::clamp<int64_t>(block_elements / (window * step), 1, s.in_channels);
  const int64_t groups = divide_up(s.in_channels, group), panel = pair_panel_words(k, parts);
  const auto rows_of = [&](int64_t g) { return std::min(group, s.in_channels - g * group) * window; };
  const int64_t group_words = divide_up(group * window, pair_panel) * panel;
  const Scratch<uint32_t> packed(groups * group_words);
  parallel_for(groups, [&](int64_t g) {
    pair_kernels().pack_a({weight + g * group * window, 1, s.depth(), rows_of(g), k, parts},
                          packed.data() + g * group_words);
  });
  parallel_for(divide_up(s.batch, most), [&](int64_t task) {
    const int64_t n = task * most, images = std::min(most, s.batch - n), all = images * pixels;
    const int64_t row = all + 16;  // rows 4 KB apart would share one set of the cache
    const Scratch<float> whole(k * pixels), side_by_side(images > 1 ? k * all : 0),
        columns(group * window * row), sums(pair_sums(pair_panel, pair_panel));
    const Scratch<uint32_t> pairs(divide_up(all, pair_panel) * panel);
    const PairTiles tiles;
    const float* dy = nullptr;
    for (int64_t i = 0; i < images; ++i) {
      dy = whole_image(gradient, n + i, k, s.out_height(), s.out_width(), whole.data());
      for (int64_t o = 0; o < k && images > 1; ++o)
        std::copy_n(dy + o * pixels, pixels, side_by_side.data() + o * all + i * pixels);
    }
    if (images > 1) dy = side_by_side.data();
    pair_kernels().pack_b({dy, 1, all, all, k, parts}, pairs.data());
    for (int64_t g = 0; g < groups; ++g) {
      pair_kernels().block({rows_of(g), all, k, parts, packed.data() + g * group_words, pairs.data(),
                            sums.data(), true, true, columns.data(), row});
      for (int64_t i = 0; i < images; ++i)
        for (int64_t c = 0; c < rows_of(g) / window; ++c)
          add_columns(s, columns.data() + c * window * row + i * pixels, row,
                      dx + ((n + i) * s.in_channels + g * group + c) * s.in_pixels());
    }
  });
}

namespace {

/// How the weight gradient is cut, by the shape alone. Images are prepared in units of a few, with pixels
/// numbered by (row, image, column); units follow each other within a chunk of the batch, which has sums of
/// its own.
struct WeightUnits {
  int64_t images, units, chunks, chunk;  // images of a unit; units; chunks; units of a chunk
  int64_t depth;                         // pixels of a unit, a multiple of pair_depth
  int64_t taps, tap_blocks;              // taps of a task, a multiple of pair_panel
};

/// Few weights: a task takes all taps of a chunk of the batch, so that what it prepares stays in its L2.
/// Many: sums would be the most of what moves; so tasks own taps, through the whole batch.
WeightUnits weight_units(const Conv2dShape& s) {
  constexpr int64_t few_weights = int64_t{160} << 10, tasks = 16;
  // Images of about so many pixels, a power of two: what a small unit makes of x and dy stays in L2, a large
  // one wastes less where its pixels do not fill tiles.
  const auto images_of = [&](int64_t pixels) {
    const int64_t images = std::max<int64_t>(1, pixels / s.out_pixels());
    return static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(images)));
  };
  WeightUnits u{};
  u.images = images_of(256);
  if (u.images * s.out_pixels() % pair_depth != 0) u.images = images_of(1024);
  u.images = std::min(u.images, s.batch);
  u.units = divide_up(s.batch, u.images);
  u.depth = round_up(u.images * s.out_pixels(), pair_depth);
  const bool few = s.out_channels * s.depth() <= few_weights && u.units >= 8;
  u.taps = pair_panel * divide_up(divide_up(s.depth(), pair_panel), few ? 1 : tasks);
  u.tap_blocks = divide_up(s.depth(), u.taps);
  u.chunk = few ? divide_up(u.units, std::min(tasks, u.units)) : u.units;
  u.chunks = divide_up(u.units, u.chunk);
  return u;
}

/// The weight gradient of one layer: what its tasks share. The images of a unit are split once per column of
/// the kernel, [channel][column of the kernel][row][image][column of the output], rows dealt out by row
/// modulo stride: so the pixels of a tap are one run.
class WeightGradient {
 public:
  WeightGradient(int parts, const Conv2dShape& s)
      : parts_(parts),
        s_(s),
        units_(weight_units(s)),
        padded_(s, s.stride),
        line_(units_.images * s.out_width()),
        phase_rows_(divide_up(padded_.height, s.stride)),
        row_phases_(std::min(s.stride, s.kernel_h)),
        block_(pair_block_depth(units_.depth, parts)),
        panels_(divide_up(s.out_channels, pair_panel)),
        part_stride_(s.in_channels * s.kernel_w * row_phases_ * phase_rows_ * line_ + slack) {
    for (int64_t c = 0; c < s.in_channels; ++c)
      for (int64_t r = 0; r < s.kernel_h; ++r)
        for (int64_t q = 0; q < s.kernel_w; ++q)
          taps_.push_back(at(c, q, r % s.stride * phase_rows_ + r / s.stride));
  }

  const WeightUnits& units() const { return units_; }
  int64_t dy_words() const { return panels_ * pair_panel_words(units_.depth, parts_); }  // of a prepared unit
  int64_t x_halves() const { return parts_ * part_stride_; }                             // of a prepared unit

  /// Packs the gradients of some output channels of a unit as operand B, block of depth after block of depth,
  /// and sums them up for the bias unless bias_sums is null. `first` is a multiple of pair_panel.
  void prepare_gradients(int64_t unit, int64_t first, int64_t count, const Conv2dGradient<float>& gradient,
                         uint32_t* dy, float* bias_sums) const {
    const int64_t n = unit * units_.images, images = images_of(unit), pixels = s_.out_pixels(),
                  k = units_.depth;
    const bool single = units_.images == 1;  // then its lines are the plane, to be read where it lies
    const Scratch<float> buffer(pixels), lines(count * k);
    if (!single && images * pixels < k) std::fill_n(lines.data(), count * k, 0.0f);
    const float* first_plane = nullptr;
    for (int64_t c = 0; c < count; ++c)
      for (int64_t i = 0; i < images; ++i) {
        const int64_t at = (n + i) * s_.out_channels + first + c;
        const float* plane = whole_image(gradient, at, 1, s_.out_height(), s_.out_width(),
                                         single ? lines.data() + c * pixels : buffer.data());
        if (c == 0) first_plane = plane;
        if (bias_sums) bias_sums[at] = sum_plane(pixels, plane);
        if (!single)
          conv2d_kernels().of<float>().copy_plane(s_.out_height(), s_.out_width(), plane, nullptr,
                                                  lines.data() + c * k + i * s_.out_width(), line_);
      }
    const float* from = single ? first_plane : lines.data();
    for (int64_t k0 = 0; k0 < k; k0 += block_) {
      const int64_t depth = std::min(block_, k - k0);
      pair_kernels().pack_b(
          {from + k0, single ? pixels : k, 1, count, single ? std::min(depth, pixels - k0) : depth, parts_},
          dy + dy_at(k0) + first / pair_panel * pair_panel_words(depth, parts_));
    }
  }

  /// Splits some channels of a unit's images.
  void prepare_images(int64_t unit, int64_t first, int64_t count, const float* x, uint16_t* halves) const {
    const int64_t n = unit * units_.images, plane = phase_rows_ * s_.stride * padded_.width,
                  size = units_.images * plane + slack;
    const Scratch<float> planes(size), lines(phase_rows_ * line_ + slack);
    std::fill_n(planes.data(), size, 0.0f);
    for (int64_t c = first; c < first + count; ++c) {
      for (int64_t i = 0; i < images_of(unit); ++i)
        deal_plane(s_, padded_, x + ((n + i) * s_.in_channels + c) * s_.in_pixels(),
                   planes.data() + i * plane);
      for (int64_t q = 0; q < s_.kernel_w; ++q)
        for (int64_t y = 0; y < row_phases_; ++y)
          pair_kernels().split_lines({planes.data() + y * padded_.width + padded_.column(q), phase_rows_,
                                      s_.stride * padded_.width, units_.images, plane, s_.out_width(),
                                      lines.data(), parts_, halves + at(c, q, y * phase_rows_),
                                      part_stride_});
    }
    const bool last = first + count == s_.in_channels;
    for (int part = 0; part < parts_ && last; ++part)  // read for pixels behind the last, times zero
      std::fill_n(halves + (part + 1) * part_stride_ - slack, slack, uint16_t{0});
  }

  /// sums (+)= the products of one unit for taps [t0, t0 + taps); with the last unit they go to out
  /// [out_channels, taps], rows depth() apart.
  void add(int64_t t0, int64_t taps, const uint32_t* dy, const uint16_t* halves, bool first, bool last,
           float* sums, float* out) const {
    const Scratch<uint32_t> panel(pair_panel_words(block_, parts_));
    for (int64_t k0 = 0; k0 < units_.depth; k0 += block_)
      for (int64_t t = 0; t < taps; t += pair_panel) {
        const int64_t rows = std::min(pair_panel, taps - t), depth = std::min(block_, units_.depth - k0);
        pair_kernels().unfold_rows(
            {halves + k0, part_stride_, parts_, taps_.data() + t0 + t, rows, depth, panel.data()});
        pair_kernels().block({.rows = rows,
                              .columns = s_.out_channels,
                              .depth = depth,
                              .parts = parts_,
                              .a = panel.data(),
                              .b = dy + dy_at(k0),
                              .sums = sums + pair_sums(t, s_.out_channels),
                              .first = first && k0 == 0,
                              .last = last && k0 + depth == units_.depth,
                              .c = out + t,
                              .ldc = s_.depth(),
                              .turned = true});
      }
  }

 private:
  /// Where a line of a channel starts, for a column of the kernel.
  int64_t at(int64_t c, int64_t q, int64_t row) const {
    return ((c * s_.kernel_w + q) * row_phases_ * phase_rows_ + row) * line_;
  }
  int64_t images_of(int64_t unit) const { return std::min(units_.images, s_.batch - unit * units_.images); }
  int64_t dy_at(int64_t k0) const { return panels_ * pair_panel_words(k0, parts_); }

  int parts_;
  Conv2dShape s_;
  WeightUnits units_;
  PaddedRows padded_;  // columns dealt by the stride; of whole strides of rows
  int64_t line_, phase_rows_, row_phases_, block_, panels_, part_stride_;
  std::vector<int64_t> taps_;
};

/// Few weights: sums [chunks, out_channels, depth()] (null: not wanted), each made by one task, and the sums
/// of gradients for the bias (likewise).
void multiply_by_chunks(const WeightGradient& layer, const Conv2dShape& s, const float* x,
                        const Conv2dGradient<float>& gradient, float* sums, float* bias_sums) {
  const WeightUnits& u = layer.units();
  const int64_t k = s.depth(), o = s.out_channels;
  parallel_for(u.chunks, [&](int64_t chunk) {
    const Scratch<uint32_t> dy(layer.dy_words());
    const Scratch<uint16_t> halves(layer.x_halves());
    const Scratch<float> squares(pair_sums(k, o));
    const PairTiles tiles;
    const int64_t begin = chunk * u.chunk, end = std::min(begin + u.chunk, u.units);
    for (int64_t unit = begin; unit < end; ++unit) {
      layer.prepare_gradients(unit, 0, o, gradient, dy.data(), bias_sums);
      layer.prepare_images(unit, 0, s.in_channels, x, halves.data());
      if (sums)
        layer.add(0, k, dy.data(), halves.data(), unit == begin, unit + 1 == end, squares.data(),
                  sums + chunk * k * o);
    }
  });
}

/// Many weights: the same with sums [out_channels, depth()], of which a task makes some taps.
void multiply_by_taps(const WeightGradient& layer, const Conv2dShape& s, const float* x,
                      const Conv2dGradient<float>& gradient, float* sums, float* bias_sums) {
  constexpr int64_t piece = 2 * pair_panel;  // channels that are prepared together
  const WeightUnits& u = layer.units();
  const int64_t k = s.depth(), o = s.out_channels;
  const int64_t o_pieces = divide_up(o, piece), c_pieces = divide_up(s.in_channels, piece);
  const int64_t unit_bytes = 4 * layer.dy_words() + 2 * layer.x_halves();
  const int64_t stripe = std::clamp<int64_t>(stripe_bytes / unit_bytes, 1, u.units);
  const Scratch<uint32_t> dy(stripe * layer.dy_words());
  const Scratch<uint16_t> halves(stripe * layer.x_halves());
  const int64_t task_sums = pair_sums(u.taps, o);
  const Scratch<float> squares(u.tap_blocks * task_sums);
  for (int64_t first = 0; first < u.units; first += stripe) {
    const int64_t count = std::min(stripe, u.units - first);
    parallel_for(count * o_pieces, [&](int64_t task) {
      const int64_t i = task / o_pieces, from = task % o_pieces * piece;
      layer.prepare_gradients(first + i, from, std::min(piece, o - from), gradient,
                              dy.data() + i * layer.dy_words(), bias_sums);
    });
    parallel_for(count * c_pieces, [&](int64_t task) {
      const int64_t i = task / c_pieces, from = task % c_pieces * piece;
      layer.prepare_images(first + i, from, std::min(piece, s.in_channels - from), x,
                           halves.data() + i * layer.x_halves());
    });
    parallel_for(sums ? u.tap_blocks : 0, [&](int64_t task) {
      const PairTiles tiles;
      const int64_t t0 = task * u.taps;
      for (int64_t i = 0; i < count; ++i)
        layer.add(t0, std::min(u.taps, k - t0), dy.data() + i * layer.dy_words(),
                  halves.data() + i * layer.x_halves(), first + i == 0, first + i + 1 == u.units,
                  squares.data() + task * task_sums, sums + t0);
    });
  }
}

/// dweight = the sum of chunks [chunks, n], in their order.
void sum_chunks(int64_t n, int64_t chunks, const float* sums, float* dweight) {
  parallel_ranges(n, 4096, [&](int64_t begin, int64_t end) {
    std::copy(sums + begin, sums + end, dweight + begin);
    for (int64_t c = 1; c < chunks; ++c)
      for (int64_t i = begin; i < end; ++i) dweight[i] += sums[c * n + i];
  });
}

}  // namespace

void backward_weight_pairs(int parts, const Conv2dShape& s, const float* x,
                           const Conv2dGradient<float>& gradient, float* dweight, float* dbias) {
  const WeightGradient layer(parts, s);
  const WeightUnits& u = layer.units();
  const int64_t weights = s.out_channels * s.depth();
  const bool chunked = dweight && u.chunks > 1;
  const Scratch<float> chunk_sums(chunked ? u.chunks * weights : 0), bias_sums(s.batch * s.out_channels);
  (u.tap_blocks == 1 ? multiply_by_chunks : multiply_by_taps)(
      layer, s, x, gradient, chunked ? chunk_sums.data() : dweight, dbias ? bias_sums.data() : nullptr);
  if (chunked) sum_chunks(weights, u.chunks, chunk_sums.data(), dweight);
  if (dbias) sum_columns(s.batch, s.out_channels, bias_sums.data(), dbias);
}

}  // namespace hashgrad::cpu
