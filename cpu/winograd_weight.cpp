// The weight gradient by Winograd's way (cpu/winograd.h). Its sums run over tiles of 2x2 gradients: at each
// of 16 places a product of matrices, transformed gradients [out_channels, tiles] by transformed inputs
// [tiles, in_channels].
#include <algorithm>
#include <vector>

#include "core/parallel.h"
#include "cpu/blocking.h"
#include "cpu/gemm_pairs.h"
#include "cpu/kernels.h"
#include "cpu/pair_kernels.h"
#include "cpu/reduce.h"
#include "cpu/scratch.h"
#include "cpu/units.h"
#include "cpu/winograd.h"
#include "cpu/winograd_kernels.h"

namespace hashgrad::cpu {
namespace {

constexpr int64_t places = 16, line_of_places = 4;

/// How the work is cut, by the shape alone. A unit is an image, or so many small ones that their tiles make a
/// deep product. Units come in stripes that are prepared for all threads. A task makes the sums of some
/// output channels at a line of places, or at a single one where there are many channels, over a chunk of the
/// batch.
struct WeightTiles {
  int64_t per_image;      // tiles
  int64_t places, rows;   // of a task: places, output channels (a multiple of pair_panel)
  int64_t row_blocks;     // tasks for all output channels
  int64_t depth;          // tiles that are multiplied at a time
  int64_t images, units;  // of a unit, of the batch
  int64_t chunks, chunk;  // chunks of the batch, units of a chunk
};

WeightTiles weight_tiles(const Conv2dShape& s) {
  constexpr int64_t few_sums = 16 * 1024, sums_of_a_task = 128 * 1024, deep = 256, tasks = 16;
  WeightTiles t{};
  t.per_image = s.out_pixels() / 4;
  t.places = s.out_channels * s.in_channels <= few_sums ? line_of_places : 1;
  t.row_blocks = divide_up(t.places * s.out_channels * s.in_channels, sums_of_a_task);
  t.rows = round_up(divide_up(s.out_channels, t.row_blocks), pair_panel);
  t.row_blocks = divide_up(s.out_channels, t.rows);
  t.images = std::clamp<int64_t>(deep / t.per_image, 1, s.batch);
  t.units = divide_up(s.batch, t.images);
  const int64_t tiles = t.images * t.per_image;
  t.depth = round_up(divide_up(tiles, divide_up(tiles, deep)), pair_depth);
  t.chunk = divide_up(t.units, std::min(divide_up(tasks, places / t.places * t.row_blocks), t.units));
  t.chunks = divide_up(t.units, t.chunk);
  return t;
}

/// One layer: what its tasks share. Of a unit two things are prepared: x by channels, [panel of nr][image]
/// [padded plane][nr], and gradients dealt by their place in a tile, [out_channels][4][tiles].
class WinogradWeight {
 public:
  WinogradWeight(const Conv2dShape& s, bool pairs) : s_(s), pairs_(pairs), t_(weight_tiles(s)) {
    const int64_t width = s.out_width() / 2;
    for (int64_t i = 0; i < t_.images; ++i)
      for (int64_t tile = 0; tile < t_.per_image; ++tile)
        upper_left_.push_back(i * plane() + 2 * (tile / width * row() + tile % width * nr()));
  }

  const WeightTiles& tiles() const { return t_; }
  int64_t panels() const { return divide_up(s_.in_channels, nr()); }
  int64_t image_size() const { return panels() * panel_size(); }        // floats of a prepared unit
  int64_t gradient_size() const { return s_.out_channels * 4 * ld(); }  // likewise
  int64_t sums_size() const { return places * place_size(); }           // of a chunk
  int64_t tasks() const { return places / t_.places * t_.row_blocks; }  // of a chunk

  /// A panel of channels of a unit's images.
  void prepare_images(int64_t unit, int64_t panel, const float* x, float* out) const {
    const int64_t c = panel * nr(), channels = std::min(nr(), s_.in_channels - c);
    for (int64_t i = 0; i < images_of(unit); ++i)
      arrange_by_channels(s_, x + ((unit * t_.images + i) * s_.in_channels + c) * s_.in_pixels(), channels,
                          nr(), out + panel * panel_size() + i * plane());
  }

  /// The gradients of some output channels of a unit, and their sums for each image unless bias_sums is null.
  void prepare_gradients(int64_t unit, int64_t first, int64_t channels, const Conv2dGradient<float>& gradient,
                         float* out, float* bias_sums) const {
    const int64_t height = s_.out_height(), width = s_.out_width(), count = images_of(unit) * t_.per_image;
    const Scratch<float> buffer(s_.out_pixels());
    out += first * 4 * ld();
    for (int64_t i = 0; i < images_of(unit); ++i)
      for (int64_t o = 0; o < channels; ++o) {  // planes as they lie in memory
        const int64_t at = (unit * t_.images + i) * s_.out_channels + first + o;
        const float* const plane = whole_image(gradient, at, 1, height, width, buffer.data());
        if (bias_sums) bias_sums[at] = sum_plane(s_.out_pixels(), plane);
        for (int64_t y = 0; y < 2; ++y) {
          float* const left = out + (4 * o + 2 * y) * ld() + i * t_.per_image;
          conv2d_kernels().of<float>().deal_plane(height / 2, width, plane + y * width, 2 * width, left,
                                                  left + ld(), width / 2);
        }
      }
    for (int64_t k = 0; k < 4 * channels; ++k) std::fill(out + k * ld() + count, out + (k + 1) * ld(), 0.0f);
  }

  /// Adds the products of a prepared unit to the sums of a task.
  void add(int64_t unit, int64_t task, const float* images, const float* gradients, bool first,
           float* sums) const {
    const int64_t place = task / t_.row_blocks * t_.places, row_block = task % t_.row_blocks,
                  o = row_block * t_.rows, rows = std::min(t_.rows, s_.out_channels - o);
    const int64_t a_size = t_.rows * (t_.depth + line), b_size = nr() * t_.depth + line;
    const Scratch<float> a(t_.places * a_size), b(t_.places * b_size);
    const int64_t count = images_of(unit) * t_.per_image;
    for (int64_t t0 = 0; t0 < count; t0 += t_.depth) {
      const int64_t depth = std::min(t_.depth, count - t0);
      const WinogradPlaces of{place / line_of_places, t_.places > 1 ? -1 : place % line_of_places};
      (pairs_ ? winograd_kernels().transform_gradient_pairs : winograd_kernels().transform_gradient)(
          {gradients + o * 4 * ld() + t0, rows, depth, ld(), of, a.data(), t_.depth + line, a_size});
      for (int64_t panel = 0; panel < panels(); ++panel) {
        (pairs_ ? winograd_kernels().transform_lanes_pairs : winograd_kernels().transform_lanes)(
            {images + panel * panel_size(), upper_left_.data() + t0, depth, row(), of, b.data(), b_size});
        for (int64_t i = 0; i < t_.places; ++i)
          multiply_block(pairs_, {.rows = rows,
                                  .columns = nr(),
                                  .depth = depth,
                                  .a = a.data() + i * a_size,
                                  .b = b.data() + i * b_size,
                                  .c = sums + (place + i) * place_size() + row_block * block_size() +
                                       panel * t_.rows * nr(),
                                  .ldc = nr(),
                                  .accumulate = !first || t0 > 0,
                                  .lda = t_.depth + line});
      }
    }
  }

  /// The gradient of the weights of a panel of input channels and the output channels of a task, from the
  /// sums of all chunks.
  void finish(int64_t row_block, int64_t panel, const float* sums, float* dweight) const {
    const int64_t first = row_block * t_.rows, c = panel * nr();
    sums += row_block * block_size() + panel * t_.rows * nr();
    for (int64_t o = first; o < std::min(first + t_.rows, s_.out_channels); ++o, sums += nr())
      winograd_kernels().transform_sums({sums, t_.chunks, sums_size(), place_size(),
                                         std::min(nr(), s_.in_channels - c),
                                         dweight + (o * s_.in_channels + c) * 9});
  }

 private:
  static constexpr int64_t line = 16;  // floats of a line of the cache, which keep powers of two apart

  static int64_t nr() { return gemm_kernels().of<float>().nr; }  // pair_panel, where there are pairs
  int64_t images_of(int64_t unit) const { return std::min(t_.images, s_.batch - unit * t_.images); }
  int64_t row() const { return (s_.width + 2 * s_.padding) * nr(); }
  int64_t plane() const { return (s_.height + 2 * s_.padding) * row(); }
  int64_t panel_size() const { return t_.images * plane(); }
  int64_t ld() const { return round_up(t_.images * t_.per_image, pair_depth) + line; }
  int64_t block_size() const { return panels() * t_.rows * nr(); }  // sums of a task at one place
  int64_t place_size() const { return t_.row_blocks * block_size() + line; }

  Conv2dShape s_;
  bool pairs_;
  WeightTiles t_;
  std::vector<int64_t> upper_left_;  // of each tile of a unit, in a panel
};

}  // namespace

bool winograd_weight_fits(const Conv2dShape& s, int parts) {
  constexpr int64_t fewest_tiles = 64;  // fewer do not outweigh 16 sums in the place of 9
  const int64_t height = s.out_height(), width = s.out_width();
  return fewer_products_pay(parts) && s.kernel_h == 3 && s.kernel_w == 3 && s.stride == 1 &&
         s.in_channels >= 32 && s.out_channels >= 32 && height % 2 == 0 && width % 2 == 0 &&
         s.batch * height * width >= 4 * fewest_tiles;
}

void backward_weight_winograd(int parts, const Conv2dShape& s, const float* x,
                              const Conv2dGradient<float>& gradient, float* dweight, float* dbias) {
  constexpr int64_t piece = 32;  // output channels that are prepared together
  const WinogradWeight layer(s, parts == 1);
  const WeightTiles& t = layer.tiles();
  const int64_t unit_bytes = (layer.image_size() + layer.gradient_size()) * int64_t{sizeof(float)};
  const Units units = units_of(t.units, t.chunk, unit_bytes);
  const int64_t o_pieces = divide_up(s.out_channels, piece);
  const Scratch<float> images(units.slots() * layer.image_size()),
      gradients(units.slots() * layer.gradient_size()), sums(units.chunks * layer.sums_size()),
      bias_sums(dbias ? s.batch * s.out_channels : 0);
  for_units(
      units, o_pieces + layer.panels(),
      [&](int64_t unit, int64_t slot, int64_t part) {
        if (part >= o_pieces)
          return layer.prepare_images(unit, part - o_pieces, x, images.data() + slot * layer.image_size());
        layer.prepare_gradients(unit, part * piece, std::min(piece, s.out_channels - part * piece), gradient,
                                gradients.data() + slot * layer.gradient_size(),
                                dbias ? bias_sums.data() : nullptr);
      },
      dweight ? layer.tasks() : 0,
      [&](int64_t unit, int64_t slot, int64_t chunk, int64_t task, bool first) {
        layer.add(unit, task, images.data() + slot * layer.image_size(),
                  gradients.data() + slot * layer.gradient_size(), first,
                  sums.data() + chunk * layer.sums_size());
      });
  parallel_for(dweight ? t.row_blocks * layer.panels() : 0, [&](int64_t task) {
    layer.finish(task / layer.panels(), task % layer.panels(), sums.data(), dweight);
  });
  if (dbias) sum_columns(s.batch, s.out_channels, bias_sums.data(), dbias);
}

}  // namespace hashgrad::cpu
