#include "experiments/report/picture.h"

#include <algorithm>
#include <cmath>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STB_IMAGE_WRITE_STATIC
#include <stb/stb_image_write.h>
#pragma GCC diagnostic pop

namespace hashgrad::report {
namespace {

constexpr int64_t gap = 4;  // pixels between two cells
constexpr uint8_t paper = 128;

uint8_t to_byte(double value) { return static_cast<uint8_t>(std::lround(255 * std::clamp(value, 0.0, 1.0))); }

/// The affine map from values to [0,1].
struct Scale {
  double factor = 1, offset = 0;
};

Scale scale_of(const std::vector<double>& values, Shade shade) {
  if (shade == Shade::pixels) return {};
  double largest = 0;
  for (double v : values) largest = std::max(largest, std::abs(v));
  return {largest > 0 ? 0.5 / largest : 0.0, 0.5};
}

struct Canvas {
  int64_t width, height;
  std::vector<uint8_t> rgb;
  void set(int64_t y, int64_t x, int64_t channel, uint8_t value) {
    rgb[static_cast<size_t>((y * width + x) * 3 + channel)] = value;
  }
};

/// Draws image n of `row` with its corner at (top, left).
void draw(Canvas& canvas, const PictureRow& row, const std::vector<double>& values, Scale scale, int64_t n,
          int64_t top, int64_t left, int zoom) {
  const int64_t c = row.images.size(1), h = row.images.size(2), w = row.images.size(3);
  for (int64_t y = 0; y < h * zoom; ++y) {
    for (int64_t x = 0; x < w * zoom; ++x) {
      for (int64_t channel = 0; channel < 3; ++channel) {
        const int64_t source = c == 3 ? channel : 0;
        const int64_t i = ((n * c + source) * h + y / zoom) * w + x / zoom;
        const double v = values[static_cast<size_t>(i)] * scale.factor + scale.offset;
        canvas.set(top + y, left + x, channel, to_byte(v));
      }
    }
  }
}

}  // namespace

std::string png_grid(const std::vector<PictureRow>& rows, int zoom) {
  check(!rows.empty(), "picture: no rows");
  const Shape cell = rows[0].images.shape().without(0);
  int64_t columns = 0;
  for (const PictureRow& row : rows) {
    check(row.images.rank() == 4 && row.images.shape().without(0) == cell,
          "picture: images {}, expected [N,{}]", row.images.shape(), cell);
    columns = std::max(columns, row.images.size(0));
  }
  const int64_t step_y = cell[1] * zoom + gap, step_x = cell[2] * zoom + gap;
  Canvas canvas{columns * step_x + gap, static_cast<int64_t>(rows.size()) * step_y + gap, {}};
  canvas.rgb.assign(static_cast<size_t>(canvas.width * canvas.height * 3), paper);
  for (size_t r = 0; r < rows.size(); ++r) {
    const std::vector<double> values = rows[r].images.to(DType::float64).to_vector<double>();
    const Scale scale = scale_of(values, rows[r].shade);
    for (int64_t n = 0; n < rows[r].images.size(0); ++n)
      draw(canvas, rows[r], values, scale, n, gap + static_cast<int64_t>(r) * step_y, gap + n * step_x, zoom);
  }
  std::string png;
  const auto append = [](void* out, void* bytes, int count) {
    static_cast<std::string*>(out)->append(static_cast<const char*>(bytes), static_cast<size_t>(count));
  };
  check(stbi_write_png_to_func(append, &png, static_cast<int>(canvas.width), static_cast<int>(canvas.height),
                               3, canvas.rgb.data(), static_cast<int>(canvas.width * 3)) != 0,
        "picture: PNG encoding failed");
  return png;
}

}  // namespace hashgrad::report
