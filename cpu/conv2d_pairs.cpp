#include "cpu/conv2d_pairs.h"

#include <algorithm>
#include <vector>

#include "core/parallel.h"
#include "cpu/blocking.h"
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

/// The weights with channels in pairs, as operand A: block of depth after block of depth.
class PairWeights {
 public:
  PairWeights(int parts, const Conv2dShape& s, const float* weight)
      : parts_(parts),
        depth_(2 * paired(s).depth()),
        block_(pair_block_depth(depth_, parts)),
        panels_(divide_up(s.out_channels, pair_panel)),
        words_(divide_up(depth_, block_) * panels_ * pair_panel_words(block_, parts)) {
    const Scratch<float> rows(s.out_channels * depth_);  // [out_channels, pairs, kernel_h, kernel_w, 2]
    parallel_for(s.out_channels,
                 [&](int64_t o) { reorder(s, weight + o * s.depth(), rows.data() + o * depth_); });
    parallel_for(divide_up(depth_, block_) * panels_, [&](int64_t task) {
      const int64_t k0 = task / panels_ * block_, first = task % panels_ * pair_panel;
      pair_kernels().pack_a(
          {rows.data() + first * depth_ + k0, depth_, 1, std::min(pair_panel, s.out_channels - first),
           std::min(block_, depth_ - k0), parts_},
          words_.data() + at(k0, first));
    });
  }

  int64_t depth() const { return depth_; }
  int64_t block() const { return block_; }
  /// The panels from output channel `first` on (a multiple of pair_panel) at depth k0.
  const uint32_t* panels(int64_t k0, int64_t first) const { return words_.data() + at(k0, first); }

 private:
  int64_t at(int64_t k0, int64_t first) const {
    return k0 / block_ * panels_ * pair_panel_words(block_, parts_) +
           first / pair_panel * pair_panel_words(std::min(block_, depth_ - k0), parts_);
  }
  static void reorder(const Conv2dShape& s, const float* from, float* to) {
    const int64_t window = s.kernel_h * s.kernel_w;
    for (int64_t c = 0; c < s.in_channels; c += 2)
      for (int64_t t = 0; t < window; ++t, to += 2) {
        to[0] = from[c * window + t];
        to[1] = c + 1 < s.in_channels ? from[(c + 1) * window + t] : 0;
      }
  }

  int parts_;
  int64_t depth_, block_, panels_;
  Scratch<uint32_t> words_;
};

/// y [channels from i0, pixels] = weight * unfolded images, some panels of pixels at a time: their sums stay
/// in L2 while blocks of depth pass by.
void convolve_block(int parts, const PairImages& images, const uint32_t* pairs, int64_t pixels,
                    const PairWeights& weights, const float* bias, bool relu, int64_t i0, int64_t channels,
                    float* y) {
  constexpr int64_t step = 8 * pair_panel;
  const Scratch<uint32_t> panel(pair_panel_words(weights.block(), parts));
  const Scratch<float> sums(pair_sums(channels, step));
  for (int64_t p0 = 0; p0 < pixels; p0 += step)
    for (int64_t k0 = 0; k0 < weights.depth(); k0 += weights.block()) {
      const int64_t depth = std::min(weights.block(), weights.depth() - k0);
      for (int64_t p = p0; p < std::min(p0 + step, pixels); p += pair_panel) {
        images.unfold(pairs, p, k0 / 2, depth / 2, panel.data());
        pair_kernels().block({channels, std::min(pair_panel, pixels - p), depth, parts,
                              weights.panels(k0, i0), panel.data(), sums.data() + pair_sums(channels, p - p0),
                              k0 == 0, k0 + depth == weights.depth(), y + p, pixels,
                              bias ? bias + i0 : nullptr, nullptr, false, relu});
      }
    }
}

}  // namespace

void convolve_pairs(int parts, const Conv2dShape& s, const Conv2dGradient<float>& source, const float* weight,
                    const float* bias, bool relu, const Conv2dDestination<float>& to) {
  const int64_t group = images_per_task(s);
  const PairImages plan(parts, s, group);
  const PairWeights weights(parts, s, weight);
  // A large batch is split by images; a small one by blocks of output channels too.
  const int64_t block = s.batch >= 8 ? s.out_channels : round_up(divide_up(s.out_channels, 4), pair_panel);
  const int64_t blocks = divide_up(s.out_channels, block);
  parallel_for(divide_up(s.batch, group) * blocks, [&](int64_t task) {
    const int64_t n = task / blocks * group, images = std::min(group, s.batch - n),
                  pixels = images * s.out_pixels();
    const int64_t i0 = task % blocks * block, channels = std::min(block, s.out_channels - i0);
    const Scratch<uint32_t> pairs(plan.size());
    plan.fill(source, n, images, pairs.data());
    if (to.y && images == 1) {  // in place
      convolve_block(parts, plan, pairs.data(), pixels, weights, bias, relu, i0, channels,
                     to.y + (n * s.out_channels + i0) * pixels);
      return;
    }
    const Scratch<float> y(channels * pixels);
    convolve_block(parts, plan, pairs.data(), pixels, weights, bias, relu, i0, channels, y.data());
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t i = 0; i < images; ++i)
        deliver(s, y.data() + c * pixels + i * s.out_pixels(), (n + i) * s.out_channels + i0 + c, to);
  });
}

void backward_input_columns_pairs(int parts, const Conv2dShape& s, const float* weight,
                                  const Conv2dGradient<float>& gradient, float* dx) {
  const int64_t window = s.kernel_h * s.kernel_w, pixels = s.out_pixels(), k = s.out_channels;
  const int64_t group = std::clamp<int64_t>(block_elements / (window * pixels), 1, s.in_channels);
  const int64_t groups = divide_up(s.in_channels, group), panel = pair_panel_words(k, parts);
  const auto rows_of = [&](int64_t g) { return std::min(group, s.in_channels - g * group) * window; };
  const int64_t group_words = divide_up(group * window, pair_panel) * panel;
  const Scratch<uint32_t> packed(groups * group_words);
  parallel_for(groups, [&](int64_t g) {
    pair_kernels().pack_a({weight + g * group * window, 1, s.depth(), rows_of(g), k, parts},
                          packed.data() + g * group_words);
  });
  parallel_for(s.batch * groups, [&](int64_t task) {
    const int64_t n = task / groups, g = task % groups, rows = rows_of(g);
    const Scratch<float> dy_buffer(k * pixels), columns(rows * pixels),
        sums(pair_sums(pair_panel, pair_panel));
    const Scratch<uint32_t> pairs(panel);
    const float* dy = whole_image(gradient, n, k, s.out_height(), s.out_width(), dy_buffer.data());
    for (int64_t p = 0; p < pixels; p += pair_panel) {
      const int64_t count = std::min(pair_panel, pixels - p);
      pair_kernels().pack_b({dy + p, 1, pixels, count, k, parts}, pairs.data());
      pair_kernels().block({rows, count, k, parts, packed.data() + g * group_words, pairs.data(), sums.data(),
                            true, true, columns.data() + p, pixels, nullptr, nullptr, false, false});
    }
    add_columns(s, rows / window, columns.data(), dx + (n * s.in_channels + g * group) * s.in_pixels());
  });
}

namespace {

/// How the weight gradient is cut, by the shape alone. Images are prepared in units of a few, whose pixels
/// are one block of depth; units follow each other within a chunk of the batch, which has sums of its own.
/// With stride 1, pixels are numbered through the padded rows, so that those of a tap are neighbours in
/// memory: gradients are zero where no output is.
struct WeightUnits {
  bool by_rows;                          // numbered through padded rows
  int64_t depth;                         // terms of one image, a multiple of pair_depth
  int64_t images, units, chunks, chunk;  // images of a unit; units; chunks; units of a chunk
  int64_t taps, tap_blocks;              // taps of a task, a multiple of pair_panel
};

WeightUnits weight_units(const Conv2dShape& s) {
  WeightUnits u{};
  u.by_rows = s.stride == 1;
  u.depth = round_up(u.by_rows ? s.out_height() * (s.width + 2 * s.padding) : s.out_pixels(), pair_depth);
  u.images = std::clamp<int64_t>(divide_up(768, u.depth), 1, s.batch);
  u.units = divide_up(s.batch, u.images);
  const int64_t panels = divide_up(s.depth(), pair_panel);
  u.taps = pair_panel * divide_up(panels, 8);
  u.tap_blocks = divide_up(s.depth(), u.taps);
  u.chunk = divide_up(u.units, std::min(divide_up(16, u.tap_blocks), u.units));
  u.chunks = divide_up(u.units, u.chunk);
  return u;
}

/// The weight gradient of one layer: what its tasks share.
class WeightGradient {
 public:
  WeightGradient(int parts, const Conv2dShape& s)
      : parts_(parts),
        s_(s),
        units_(weight_units(s)),
        plan_(s),
        image_(s.in_channels * plan_.padded_height() * plan_.padded_width()),
        part_stride_(units_.images * image_ + units_.depth + slack),
        panels_(divide_up(s.out_channels, pair_panel)),
        dy_words_(panels_ * pair_panel_words(units_.images * units_.depth, parts)),
        taps_(tap_offsets(s)),
        pixels_(units_.by_rows ? std::vector<int64_t>() : pixel_offsets(s, 1)) {
    pixels_.resize(units_.by_rows ? 0 : static_cast<size_t>(units_.depth), 0);  // behind the last: any
  }

  const WeightUnits& units() const { return units_; }
  int64_t dy_words() const { return dy_words_; }              // of a prepared unit
  int64_t x_halves() const { return parts_ * part_stride_; }  // of a prepared unit

  /// Packs the gradients of a unit as operand B, splits its images, and sums up gradients for the bias.
  void prepare(int64_t unit, const float* x, const Conv2dGradient<float>& gradient, uint32_t* dy,
               uint16_t* halves, float* bias_sums) const {
    const int64_t k = units_.images * units_.depth, o = s_.out_channels;
    const Scratch<float> gradients(o * k), image(o * s_.out_pixels()), padded(plan_.buffer_size());
    if (images_of(unit) < units_.images) std::fill_n(gradients.data(), o * k, 0.0f);
    for (int64_t i = 0; i < images_of(unit); ++i) {
      const int64_t n = unit * units_.images + i;
      const float* from = whole_image(gradient, n, o, s_.out_height(), s_.out_width(), image.data());
      for (int64_t c = 0; c < o; ++c) {
        bias_sums[n * o + c] = sum_plane(s_.out_pixels(), from + c * s_.out_pixels());
        spread(from + c * s_.out_pixels(), gradients.data() + c * k + i * units_.depth);
      }
      plan_.pad({x}, n, 1, padded.data());
      pair_kernels().split_plane(plan_.origin(padded.data()), image_, parts_, halves + i * image_,
                                 part_stride_);
    }
    for (int part = 0; part < parts_; ++part)  // read for pixels behind the last, times zero
      std::fill_n(halves + part * part_stride_ + images_of(unit) * image_,
                  part_stride_ - images_of(unit) * image_, uint16_t{0});
    pair_kernels().pack_b({gradients.data(), k, 1, o, k, parts_}, dy);
  }

  /// sums (+)= the products of one unit for taps [t0, t0 + taps); with the last unit they go to out [taps,
  /// o].
  void add(int64_t t0, int64_t taps, const uint32_t* dy, const uint16_t* halves, bool first, bool last,
           float* sums, float* out) const {
    const int64_t k = units_.images * units_.depth, image_words = pair_panel_words(units_.depth, parts_);
    const Scratch<uint32_t> panel(pair_panel_words(k, parts_));
    for (int64_t t = 0; t < taps; t += pair_panel, sums += pair_sums(pair_panel, s_.out_channels)) {
      const int64_t rows = std::min(pair_panel, taps - t);
      for (int64_t i = 0; i < units_.images; ++i)
        pair_kernels().unfold_rows({halves + i * image_, part_stride_, parts_, taps_.data() + t0 + t,
                                    units_.by_rows ? nullptr : pixels_.data(), rows, units_.depth,
                                    panel.data() + i * image_words});
      pair_kernels().block({rows, s_.out_channels, k, parts_, panel.data(), dy, sums, first, last,
                            out + t * s_.out_channels, s_.out_channels, nullptr, nullptr, false, false});
    }
  }

 private:
  int64_t images_of(int64_t unit) const { return std::min(units_.images, s_.batch - unit * units_.images); }
  /// One plane of gradients as its pixels are numbered, zeros between them.
  void spread(const float* plane, float* to) const {
    const int64_t rows = units_.by_rows ? s_.out_height() : 1, row = s_.out_pixels() / rows,
                  stride = units_.by_rows ? plan_.padded_width() : row;
    float* const end = to + units_.depth;
    for (int64_t y = 0; y < rows; ++y, plane += row, to += stride) {
      for (int64_t x = 0; x < row; ++x) to[x] = plane[x];
      for (int64_t x = row; x < stride; ++x) to[x] = 0;
    }
    std::fill(to, end, 0.0f);
  }

  int parts_;
  Conv2dShape s_;
  WeightUnits units_;
  Conv2dPlan<float> plan_;
  int64_t image_, part_stride_, panels_, dy_words_;
  std::vector<int64_t> taps_, pixels_;
};

/// dweight [out_channels, taps] = the sum of chunks [chunks, taps, out_channels], in their order.
void sum_chunks(int64_t out_channels, int64_t taps, int64_t chunks, const float* sums, float* dweight) {
  parallel_ranges(taps, 64, [&](int64_t begin, int64_t end) {
    for (int64_t o = 0; o < out_channels; ++o)
      for (int64_t t = begin; t < end; ++t) {
        float sum = 0;
        for (int64_t c = 0; c < chunks; ++c) sum += sums[(c * taps + t) * out_channels + o];
        dweight[o * taps + t] = sum;
      }
  });
}

}  // namespace

void backward_weight_pairs(int parts, const Conv2dShape& s, const float* x,
                           const Conv2dGradient<float>& gradient, float* dweight, float* dbias) {
  const WeightGradient layer(parts, s);
  const WeightUnits& u = layer.units();
  const int64_t k = s.depth(), o = s.out_channels, unit_bytes = 4 * layer.dy_words() + 2 * layer.x_halves();
  const int64_t stripe = std::clamp<int64_t>(stripe_bytes / (unit_bytes * u.chunks), 1, u.chunk);
  const int64_t task_sums = pair_sums(u.taps, o);
  const Scratch<uint32_t> dy(u.chunks * stripe * layer.dy_words());
  const Scratch<uint16_t> halves(u.chunks * stripe * layer.x_halves());
  const Scratch<float> squares(u.chunks * u.tap_blocks * task_sums), sums(u.chunks * k * o),
      bias_sums(s.batch * o);

  for (int64_t first = 0; first < u.chunk; first += stripe) {
    const int64_t count = std::min(stripe, u.chunk - first);  // units of each chunk in this stripe
    const auto unit_of = [&](int64_t chunk, int64_t i) { return chunk * u.chunk + first + i; };
    parallel_for(u.chunks * count, [&](int64_t i) {
      const int64_t unit = unit_of(i / count, i % count);
      if (unit < u.units)
        layer.prepare(unit, x, gradient, dy.data() + i * layer.dy_words(),
                      halves.data() + i * layer.x_halves(), bias_sums.data());
    });
    parallel_for(dweight ? u.chunks * u.tap_blocks : 0, [&](int64_t task) {
      const int64_t chunk = task / u.tap_blocks, t0 = task % u.tap_blocks * u.taps,
                    taps = std::min(u.taps, k - t0);
      const int64_t end = std::min(u.units, (chunk + 1) * u.chunk);
      for (int64_t i = 0; i < count && unit_of(chunk, i) < end; ++i) {
        const int64_t at = chunk * count + i;
        layer.add(t0, taps, dy.data() + at * layer.dy_words(), halves.data() + at * layer.x_halves(),
                  first + i == 0, unit_of(chunk, i) + 1 == end, squares.data() + task * task_sums,
                  sums.data() + (chunk * k + t0) * o);
      }
    });
  }
  if (dweight) sum_chunks(o, k, u.chunks, sums.data(), dweight);
  if (dbias) sum_columns(s.batch, o, bias_sums.data(), dbias);
}

}  // namespace hashgrad::cpu
