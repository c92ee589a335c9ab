#include "datasets/synthetic_digits.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"
#include "core/random.h"
#include "datasets/digit_glyphs.h"

namespace hashgrad {
namespace {

constexpr int64_t side = 28;
constexpr int64_t area = side * side;
constexpr uint64_t test_samples = uint64_t{1} << 40;  // where the test split's random sequences start
constexpr float tau = 2 * std::numbers::pi_v<float>;

/// The amounts of variation: mean and spread of the pixels come out as on MNIST, and a linear classifier near
/// 92 %. Lengths of glyphs are in units of the glyph's box, others in pixels; sigmas belong to normal draws.
constexpr float point_jitter = 0.035f;               // sigma of each point of the pen's path
constexpr float warp_amplitude = 0.040f;             // sigma of each wave of the elastic field
constexpr float rotation = 0.13f;                    // sigma, radians
constexpr float slant = 0.22f;                       // sigma of the shear
constexpr float smallest = 15.5f, largest = 21.0f;   // height
constexpr float narrowest = 0.62f, widest = 1.0f;    // width as a share of the height
constexpr float drift = 1.4f;                        // largest shift off the centre
constexpr float thinnest = 0.75f, thickest = 1.90f;  // half the width of the line
constexpr float sharpest = 0.55f, softest = 1.0f;    // half the width of the line's edge
constexpr float grain = 0.18f;                       // largest loss of ink per pixel

float between(Random& random, float low, float high) { return low + (high - low) * random.uniform(); }
float gaussian(Random& random, float sigma) { return sigma * static_cast<float>(random.normal()); }

/// A displacement that varies smoothly over the glyph's box: a few long waves.
class ElasticField {
 public:
  explicit ElasticField(Random& random) {
    for (Wave& w : waves_)
      w = {between(random, -1.2f, 1.2f), between(random, -1.2f, 1.2f), tau * random.uniform(),
           gaussian(random, warp_amplitude), gaussian(random, warp_amplitude)};
  }
  Point operator()(Point p) const {
    Point moved = p;
    for (const Wave& w : waves_) {
      const float s = std::sin(tau * (w.fx * p.x + w.fy * p.y) + w.phase);
      moved.x += w.ax * s;
      moved.y += w.ay * s;
    }
    return moved;
  }

 private:
  struct Wave {
    float fx, fy, phase, ax, ay;
  };
  std::array<Wave, 3> waves_{};
};

/// Points along the Catmull-Rom spline through a stroke's points: it passes through each of them.
Stroke smooth(const Stroke& points) {
  constexpr int steps = 6;
  const size_t last = points.size() - 1;
  Stroke curve{points.front()};
  for (size_t i = 0; i < last; ++i) {
    const Point a = points[i == 0 ? 0 : i - 1], b = points[i], c = points[i + 1],
                d = points[std::min(i + 2, last)];
    const auto at = [](float p0, float p1, float p2, float p3, float t) {
      return p1 + 0.5f * t * (p2 - p0 + t * (2 * p0 - 5 * p1 + 4 * p2 - p3 + t * (3 * (p1 - p2) + p3 - p0)));
    };
    for (int s = 1; s <= steps; ++s) {
      const float t = static_cast<float>(s) / steps;
      curve.push_back({at(a.x, b.x, c.x, d.x, t), at(a.y, b.y, c.y, d.y, t)});
    }
  }
  return curve;
}

/// Rotation, slant, size and place of one digit: from the glyph's box to pixels.
class Placement {
 public:
  explicit Placement(Random& random) {
    const float height = between(random, smallest, largest);
    const float width = height * between(random, narrowest, widest);
    const float angle = gaussian(random, rotation), shear = gaussian(random, slant);
    const float c = std::cos(angle), s = std::sin(angle);
    xx_ = c * width;
    xy_ = (-c * shear - s) * height;
    yx_ = s * width;
    yy_ = (-s * shear + c) * height;
    x_ = side / 2.0f + between(random, -drift, drift);
    y_ = side / 2.0f + between(random, -drift, drift);
  }
  Point operator()(Point p) const {
    const float x = p.x - 0.5f, y = p.y - 0.5f;
    return {x_ + xx_ * x + xy_ * y, y_ + yx_ * x + yy_ * y};
  }

 private:
  float xx_, xy_, yx_, yy_, x_, y_;
};

/// The pen's path for one digit in one person's hand, in pixels.
Glyph write(Random& random, int digit) {
  const std::vector<Glyph>& ways = glyphs_of(digit);
  Glyph glyph = ways[random.below(static_cast<uint32_t>(ways.size()))];
  const ElasticField field(random);
  const Placement place(random);
  for (Stroke& stroke : glyph) {
    for (Point& p : stroke) p = {p.x + gaussian(random, point_jitter), p.y + gaussian(random, point_jitter)};
    stroke = smooth(stroke);
    for (Point& p : stroke) p = place(field(p));
  }
  return glyph;
}

struct Pen {
  float radius;  // half the width of the line
  float edge;    // half the width of the soft rim; anti-aliasing and blur in one
};

/// Ink in [0, 1] per pixel.
using Canvas = std::array<float, area>;

/// Darkens the canvas along a straight piece of line: full ink inside, a smooth step across the edge.
void draw_segment(Canvas& canvas, Point a, Point b, Pen pen) {
  const float reach = pen.radius + pen.edge;
  const auto first = [&](float v) {
    return std::clamp(static_cast<int64_t>(std::floor(v - reach)), int64_t{0}, side);
  };
  const auto end = [&](float v) {
    return std::clamp(static_cast<int64_t>(std::ceil(v + reach)) + 1, int64_t{0}, side);
  };
  const float dx = b.x - a.x, dy = b.y - a.y, length2 = std::max(dx * dx + dy * dy, 1e-12f);
  for (int64_t row = first(std::min(a.y, b.y)); row < end(std::max(a.y, b.y)); ++row) {
    for (int64_t column = first(std::min(a.x, b.x)); column < end(std::max(a.x, b.x)); ++column) {
      const float px = static_cast<float>(column) + 0.5f - a.x, py = static_cast<float>(row) + 0.5f - a.y;
      const float t = std::clamp((px * dx + py * dy) / length2, 0.0f, 1.0f);
      const float distance = std::hypot(px - t * dx, py - t * dy);
      const float step = std::clamp((reach - distance) / (2 * pen.edge), 0.0f, 1.0f);
      float& ink = canvas[static_cast<size_t>(row * side + column)];
      ink = std::max(ink, step * step * (3 - 2 * step));
    }
  }
}

/// One image, [28,28], from its own random sequence.
void draw_digit(Random& random, int digit, uint8_t* image) {
  const Glyph path = write(random, digit);
  const Pen pen{between(random, thinnest, thickest), between(random, sharpest, softest)};
  const float pressure_from = between(random, 0.8f, 1.2f), pressure_to = between(random, 0.8f, 1.2f);
  Canvas canvas{};
  for (const Stroke& stroke : path) {
    const float last = static_cast<float>(stroke.size() - 1);
    for (size_t i = 0; i + 1 < stroke.size(); ++i) {
      const float pressure = std::lerp(pressure_from, pressure_to, static_cast<float>(i) / last);
      draw_segment(canvas, stroke[i], stroke[i + 1], {pen.radius * pressure, pen.edge});
    }
  }
  for (size_t i = 0; i < canvas.size(); ++i) {
    const float ink = canvas[i] * (1 - grain * random.uniform());
    image[i] = static_cast<uint8_t>(255.0f * ink + 0.5f);
  }
}

}  // namespace

Dataset synthetic_digits(Split split, int64_t count, uint64_t seed) {
  check(count >= 1 && count <= int64_t{1} << 32, "synthetic-digits: {} images (accepted: 1 to 2^32)", count);
  Dataset data;
  data.name = "synthetic-digits";
  data.images = Tensor::empty({count, 1, side, side}, DType::uint8);
  data.labels = Tensor::empty({count}, DType::int64);
  data.classes = 10;
  uint8_t* images = data.images.data<uint8_t>();
  int64_t* labels = data.labels.data<int64_t>();
  parallel_ranges(count, 64, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      Random random(seed, Stream::synthetic,
                    static_cast<uint64_t>(k) + (split == Split::test ? test_samples : 0));
      labels[k] = random.below(10);
      draw_digit(random, static_cast<int>(labels[k]), images + k * area);
    }
  });
  return data;
}

}  // namespace hashgrad
