#include "cpu/winograd.h"

#include <algorithm>
#include <atomic>
#include <vector>

#include "core/parallel.h"
#include "cpu/blocking.h"
#include "cpu/gemm_pairs.h"
#include "cpu/kept_panels.h"
#include "cpu/kernels.h"
#include "cpu/pair_kernels.h"
#include "cpu/scratch.h"
#include "cpu/winograd_kernels.h"

namespace hashgrad::cpu {
namespace {

constexpr int64_t places = 16;         // of a transformed tile
constexpr int64_t fewest_outputs = 6;  // of a line

bool channels_fit(const Conv2dShape& s) {
  return s.kernel_h == s.kernel_w && (s.kernel_h == 3 || s.kernel_h == 5) && s.stride == 1 &&
         s.in_channels >= 32 && s.out_channels >= 32;
}

/// Tiles as outputs of a convolution that reads so many inputs each.
Conv2dShape tiles_of(Conv2dShape s, int64_t side) {
  s.kernel_h = s.kernel_w = side;
  s.stride = 2;
  return s;
}
Conv2dShape tiles_of(const Conv2dShape& s) { return tiles_of(s, s.kernel_h + 1); }

// The quarters of a 5x5 kernel, in an order in which those that a place takes lie together as far as they
// can. A 3x3 kernel is the first.
constexpr WinogradQuarter quarters[] = {{0, 0}, {0, 1}, {1, 1}, {1, 0}};
int64_t quarters_of(const Conv2dShape& s) { return s.kernel_h == 5 ? 4 : 1; }

/// Whether a quarter's transformed kernel has anything at a place: its first row, or column, of three is
/// missing further down, or right, and with it the first of four.
bool has_place(const WinogradQuarter& q, int64_t place) {
  return !(q.down && place / 4 == 0) && !(q.right && place % 4 == 0);
}

/// One layer, some images side by side. The depth of its products is input channels, those of each quarter of
/// the kernel after the other: a quarter further down or right reads the inputs of the next tile. Tiles are
/// numbered through the images; a block of them, transformed, stays in L2 while the weights pass by. Where
/// the operands are pairs, the words of cpu/pair_kernels.h take the place of floats, half as many, and whole
/// tiles of depth for each quarter.
class Winograd {
 public:
  Winograd(const Conv2dShape& s, bool pairs, int64_t images, bool pooled)
      : s_(s),
        pairs_(pairs),
        pooled_(pooled),
        plan_(tiles_of(s), images, 2),
        taps_(tap_offsets(tiles_of(s, 4), 2)),
        per_image_(tiles_of(s).out_pixels()) {
    const int64_t width = s.out_width() / 2;
    for (int64_t i = 0; i < images; ++i)
      for (int64_t tile = 0; tile < per_image_; ++tile)
        places_.push_back(i * s.out_channels * plane() +
                          (pooled ? tile : 2 * (tile / width * s.out_width() + tile % width)));
  }

  const Conv2dPlan<float>& plan() const { return plan_; }
  int64_t tiles(int64_t images) const { return images * per_image_; }
  int64_t plane() const { return pooled_ ? per_image_ : s_.out_pixels(); }  // numbers of one result
  /// How many tiles a block has at most.
  static int64_t block_of(const Conv2dShape& s, bool pairs) {
    constexpr int64_t words = 128 * 1024;  // of its 16 places together
    return nr() * std::clamp<int64_t>(words / (places * quarters_of(s) * depth_of(s, pairs) * nr()), 1, 4);
  }
  int64_t block() const { return block_; }
  int64_t block_size() const { return places * apart(); }
  int64_t panels() const { return divide_up(s_.out_channels, mr()); }
  int64_t weight_size() const { return panels() * panel_size(); }

  int64_t first_channel(int64_t panel) const { return panel * mr(); }
  int64_t channels_of(int64_t panel) const { return std::min(mr(), s_.out_channels - first_channel(panel)); }

  /// A panel of output channels of the transformed weights.
  void prepare_weight(int64_t panel, const float* weight, float* transformed) const {
    weight += first_channel(panel) * s_.depth();
    transformed += panel * panel_size();
    for (int64_t q = 0; q < quarters_of(s_); ++q, transformed += depth_ * mr())
      if (pairs_)
        prepare_pairs(channels_of(panel), quarters[q], weight, transformed);
      else
        winograd_kernels().transform_weight(channels_of(panel), s_.in_channels, s_.kernel_h, quarters[q],
                                            weight, transformed, all_depth() * mr());
  }

  /// Some channels of a block of tiles from t0 on.
  void prepare_block(const float* images, int64_t t0, int64_t tiles, int64_t c0, int64_t channels,
                     float* block) const {
    const auto transform =
        pairs_ ? winograd_kernels().transform_input_pairs : winograd_kernels().transform_input;
    const int64_t first = pairs_ ? c0 / 2 : c0, used = pairs_ ? divide_up(channels, 2) : channels;
    const bool last = c0 + channels == s_.in_channels;
    for (int64_t t = 0; t < tiles; t += nr())
      for (int64_t q = 0; q < quarters_of(s_); ++q) {
        const int64_t next = quarters[q].down * 2 * plan_.padded_width() + quarters[q].right;
        float* const to = block + t * all_depth() + q * depth_ * nr();
        Unfold<float> u = plan_.unfold(images + next, t0 + t, std::min(nr(), tiles - t), 0, places * channels,
                                       to + first * nr());
        u.tap_offsets = taps_.data() + places * c0;
        transform(u, apart());
        for (int64_t place = 0; last && place < places; ++place)
          std::fill(to + place * apart() + (first + used) * nr(), to + place * apart() + depth_ * nr(), 0.0f);
      }
  }

  /// The results of a panel of channels for such a block; n: the number of the first image.
  void multiply(int64_t panel, const float* transformed, const float* block, int64_t t0, int64_t tiles,
                int64_t n, const Conv2dEpilogue<float>& to) const {
    const int64_t o = first_channel(panel), rows = channels_of(panel);
    // Squares of the products of pairs are 32 wide; block() wants panels as deep as the product.
    const int64_t step = pairs_ || quarters_of(s_) > 1 ? nr() : tiles, stride = round_up(step, nr());
    const int64_t size =
        mr() * stride;  // of a place's products, 64 bytes from the next, not in its sets of L1
    const int64_t at = (n * s_.out_channels + o) * plane();
    const Scratch<float> products(places * (size + line));
    for (int64_t t = 0; t < tiles; t += step) {
      const int64_t columns = std::min(step, tiles - t);
      for (int64_t place = 0; place < places; ++place) {
        const float* const a = transformed + panel * panel_size() + place * all_depth() * mr();
        const float* const b = block + place * apart() + t * all_depth();
        float* const c = products.data() + place * (size + line);
        for_depths(place, [&](int64_t first, int64_t depth, bool accumulate) {
          multiply_block(pairs_, {.rows = rows,
                                  .columns = columns,
                                  .depth = pairs_ ? 2 * depth : depth,
                                  .a = a + first * mr(),
                                  .b = b + first * nr(),
                                  .c = c,
                                  .ldc = stride,
                                  .accumulate = accumulate});
        });
      }
      winograd_kernels().transform_output({.products = products.data(),
                                           .rows = rows,
                                           .tiles = columns,
                                           .stride = stride,
                                           .apart = size + line,
                                           .bias = to.bias ? to.bias + o : nullptr,
                                           .relu = to.relu,
                                           .places = places_.data() + t0 + t,
                                           .y = (pooled_ ? to.pooled : to.y) + at,
                                           .plane = plane(),
                                           .width = pooled_ ? 0 : s_.out_width(),
                                           .argmax = to.argmax ? to.argmax + at : nullptr});
    }
  }

 private:
  static constexpr int64_t line = 16;  // floats of a line of the cache

  int64_t mr() const { return pairs_ ? pair_panel : gemm_kernels().of<float>().mr; }
  static int64_t nr() { return gemm_kernels().of<float>().nr; }  // pair_panel, where there are pairs
  /// Of one quarter, in words.
  static int64_t depth_of(const Conv2dShape& s, bool pairs) {
    return pairs ? round_up(s.in_channels, pair_depth) / 2 : s.in_channels;
  }
  int64_t all_depth() const { return quarters_of(s_) * depth_; }
  int64_t panel_size() const { return places * all_depth() * mr(); }
  /// Words from one place of the transformed tiles to the next: no power of two, or all sixteen would fall
  /// into one set of the L1 cache.
  int64_t apart() const { return block_ * all_depth() + nr(); }

  /// A quarter of some filters as a panel of pairs, at all places.
  void prepare_pairs(int64_t rows, const WinogradQuarter& quarter, const float* weight, float* panels) const {
    const int64_t step = gemm_kernels().of<float>().mr, channels = s_.in_channels, apart = channels * step;
    const Scratch<float> some(places * apart), all(places * channels * pair_panel);
    for (int64_t i = 0; i < pair_panel; i += step) {
      const int64_t count = std::min(step, pair_panel - i), valid = std::clamp<int64_t>(rows - i, 0, count);
      winograd_kernels().transform_weight(valid, channels, s_.kernel_h, quarter, weight + i * s_.depth(),
                                          some.data(), apart);
      for (int64_t k = 0; k < places * channels; ++k)
        std::copy_n(some.data() + k * step, count, all.data() + k * pair_panel + i);
    }
    for (int64_t place = 0; place < places; ++place)
      pair_kernels().pack_a(
          {all.data() + place * channels * pair_panel, 1, pair_panel, pair_panel, channels, 1},
          reinterpret_cast<uint32_t*>(panels + place * all_depth() * pair_panel));
  }

  /// Calls to(first word, words, whether something went before) for the depths of the quarters that have a
  /// place, neighbours at once.
  template <class To>
  void for_depths(int64_t place, const To& to) const {
    const int64_t count = quarters_of(s_);
    bool accumulate = false;
    for (int64_t q = 0; q < count; ++q) {
      const int64_t first = q;
      while (q < count && has_place(quarters[q], place)) ++q;
      if (q == first) continue;
      to(first * depth_, (q - first) * depth_, accumulate);
      accumulate = true;
    }
  }

  Conv2dShape s_;
  bool pairs_, pooled_;
  Conv2dPlan<float> plan_;
  std::vector<int64_t> taps_;  // of the 4x4 inputs of a tile and quarter
  int64_t per_image_;
  int64_t depth_ = depth_of(s_, pairs_);
  int64_t block_ = block_of(s_, pairs_);
  std::vector<int64_t> places_;
};

/// Transforms the weights of all panels. s: the shape of what is computed with them.
void prepare_weights(const Conv2dShape& s, const Winograd& layer, const ConvolvedWeight<float>& weight,
                     float* transformed) {
  const Scratch<float> turned(weight.turned ? s.out_channels * s.depth() : 0);
  const float* kernels = as_convolved(s, weight, turned.data());
  parallel_for(layer.panels(), [&](int64_t panel) { layer.prepare_weight(panel, kernels, transformed); });
}

/// The images that one task takes side by side: enough tiles for a block, if there are so many, and few lanes
/// of the last vector without one.
int64_t images_per_task(const Conv2dShape& s, bool pairs) {
  constexpr int64_t many_tiles = 256, lanes = 16;
  const int64_t tiles = tiles_of(s).out_pixels(), most = std::clamp(many_tiles / tiles, int64_t{1}, s.batch);
  const auto waste = [&](int64_t images) { return round_up(images * tiles, lanes) - images * tiles; };
  int64_t best = 1;
  for (int64_t images = 2; images <= most; ++images)
    if (best * tiles < Winograd::block_of(s, pairs) || waste(images) * best < waste(best) * images)
      best = images;
  return best;
}

/// Normalises some finished planes, numbered through the images from n on, where they lie, if that is wanted.
void finish_planes(const Conv2dShape& s, int64_t n, int64_t first, int64_t count,
                   const Conv2dEpilogue<float>& to) {
  if (!to.norm) return;
  const Delivery<float> deliver(s, to);
  const int64_t channels = s.out_channels, pixels = s.out_pixels();
  for (int64_t i = first; i < first + count; ++i)
    deliver(to.y + (n * channels + i) * pixels, n + i / channels, i % channels);
}

/// `images` images from n on, with all threads at work on them. Each takes some tiles; where these are so few
/// that all would read the same weights for little, some output channels of tiles that all have prepared:
/// what one core has written another gets slowly.
void convolve_together(const Conv2dShape& s, const Winograd& layer, const Conv2dGradient<float>& source,
                       int64_t n, int64_t images, const float* transformed, const Conv2dEpilogue<float>& to) {
  constexpr int64_t channels = 8, lanes = 16;  // of a task; of a vector
  const int64_t tiles = layer.tiles(images);
  const bool by_tiles = 3 * tiles >= s.out_channels;
  const int64_t pieces = std::max<int64_t>(divide_up(tiles, layer.block()), by_tiles ? threads() : 1);
  // Cut by threads, which no sum of a tile knows of. A block may be less than `lanes` tiles, where vectors
  // are short and channels many.
  const int64_t step = std::min(round_up(divide_up(tiles, pieces), lanes), layer.block()),
                count = divide_up(tiles, step);
  const auto size = [&](int64_t b) { return std::min(step, tiles - b * step); };
  const Scratch<float> padded(layer.plan().buffer_size()), shared(by_tiles ? 0 : count * layer.block_size());
  const auto prepare = [&](int64_t b, int64_t c, int64_t wide, float* block) {
    layer.prepare_block(layer.plan().origin(padded.data()), b * step, size(b), c, wide, block);
  };
  std::vector<std::atomic<int64_t>> done(static_cast<size_t>(layer.panels()));
  const auto multiply = [&](int64_t b, int64_t panel, const float* block) {
    layer.multiply(panel, transformed, block, b * step, size(b), n, to);
    if (++done[static_cast<size_t>(panel)] < count) return;
    for (int64_t image = 0; image < images; ++image)  // who is last finishes
      finish_planes(s, n, image * s.out_channels + layer.first_channel(panel), layer.channels_of(panel), to);
  };
  parallel_for(divide_up(s.in_channels, channels), [&](int64_t i) {
    const int64_t c = i * channels, wide = std::min(channels, s.in_channels - c);
    for (int64_t image = 0; image < images; ++image)
      layer.plan().pad_planes(source, n, image * s.in_channels + c, wide, padded.data());
    for (int64_t b = 0; !by_tiles && b < count; ++b)
      prepare(b, c, wide, shared.data() + b * layer.block_size());
  });
  if (!by_tiles) {
    parallel_for(count * layer.panels(), [&](int64_t i) {
      multiply(i % count, i / count, shared.data() + i % count * layer.block_size());
    });
    return;
  }
  parallel_for(count, [&](int64_t b) {
    const Scratch<float> block(layer.block_size());
    prepare(b, 0, s.in_channels, block.data());
    for (int64_t panel = 0; panel < layer.panels(); ++panel) multiply(b, panel, block.data());
  });
}

/// The same by one thread: a task among others.
void convolve_alone(const Conv2dShape& s, const Winograd& layer, const Conv2dGradient<float>& source,
                    int64_t n, int64_t images, const float* transformed, const Conv2dEpilogue<float>& to) {
  const int64_t tiles = layer.tiles(images);
  const Scratch<float> padded(layer.plan().buffer_size()), block(layer.block_size());
  layer.plan().pad(source, n, images, padded.data());
  for (int64_t t0 = 0; t0 < tiles; t0 += layer.block()) {
    const int64_t count = std::min(layer.block(), tiles - t0);
    layer.prepare_block(layer.plan().origin(padded.data()), t0, count, 0, s.in_channels, block.data());
    for (int64_t panel = 0; panel < layer.panels(); ++panel)
      layer.multiply(panel, transformed, block.data(), t0, count, n, to);
  }
  finish_planes(s, n, 0, images * s.out_channels, to);
}

}  // namespace

bool winograd_fits(const Conv2dShape& s, int parts) {
  if (!fewer_products_pay(parts)) return false;
  const int64_t fewest = parts == 1 ? 4 : fewest_outputs;
  const auto fits = [&](int64_t outputs) { return outputs >= fewest && outputs % 2 == 0; };
  return channels_fit(s) && fits(s.out_height()) && fits(s.out_width());
}

OutputRange same_tiles(const Conv2dShape& s, OutputRange wanted, int64_t outputs) {
  if (!channels_fit(s)) return wanted;
  if (outputs % 2 == 1) {  // the whole goes another way, as does what has an odd number of them
    const int64_t size = wanted.size / 2 * 2 + 1;
    return {std::min(wanted.first, outputs - size), size};
  }
  const int64_t size = std::min(std::max(fewest_outputs, (wanted.size + 2) / 2 * 2), outputs);
  return {std::min(wanted.first / 2 * 2, outputs - size), size};
}

void convolve_winograd(int parts, const Conv2dShape& s, const Conv2dGradient<float>& source,
                       const ConvolvedWeight<float>& weight, const Conv2dEpilogue<float>& to) {
  constexpr int64_t few_tasks = 8;
  if (s.batch == 0) return;
  const bool pairs = parts == 1;
  const int64_t images = images_per_task(s, pairs), tasks = divide_up(s.batch, images);
  const Winograd layer(s, pairs, images, to.pooled);
  const auto as = weight.turned ? PackedUse::As::winograd_turned : PackedUse::As::winograd;
  const KeepPanels::Found kept = KeepPanels::find({weight.data, as, s.out_channels, s.in_channels, parts},
                                                  static_cast<size_t>(layer.weight_size()) * sizeof(float));
  const Scratch<float> own(kept.panels ? 0 : layer.weight_size());
  float* const transformed = kept.panels ? static_cast<float*>(kept.panels) : own.data();
  if (!kept.panels || kept.empty) prepare_weights(s, layer, weight, transformed);
  const auto run = [&](const auto& convolve_images, int64_t task) {
    const int64_t n = task * images;
    convolve_images(s, layer, source, n, std::min(images, s.batch - n), transformed, to);
  };
  if (tasks < few_tasks)
    for (int64_t task = 0; task < tasks; ++task) run(convolve_together, task);
  else
    parallel_for(tasks, [&](int64_t task) { run(convolve_alone, task); });
}

}  // namespace hashgrad::cpu
