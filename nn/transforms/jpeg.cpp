#include "nn/transforms/jpeg.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "core/parallel.h"

namespace hashgrad {
namespace {

using Table = Jpeg::Table;
using Block = std::array<double, 64>;  // 8 rows of 8

// clang-format off
constexpr Table luma_of_quality_50{
    16, 11, 10, 16,  24,  40,  51,  61,
    12, 12, 14, 19,  26,  58,  60,  55,
    14, 13, 16, 24,  40,  57,  69,  56,
    14, 17, 22, 29,  51,  87,  80,  62,
    18, 22, 37, 56,  68, 109, 103,  77,
    24, 35, 55, 64,  81, 104, 113,  92,
    49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103,  99};
constexpr Table chroma_of_quality_50{
    17, 18, 24, 47, 99, 99, 99, 99,
    18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99};
// clang-format on

Table at_quality(Table table, int64_t quality) {
  const int64_t scale = quality < 50 ? 5000 / quality : 200 - 2 * quality;
  for (double& step : table)
    step = std::clamp(std::floor((step * static_cast<double>(scale) + 50) / 100), 1.0, 255.0);
  return table;
}

/// Row u is the cosine of frequency u, of length 1: sqrt(1/8) for u = 0, else cos((2 i + 1) u pi / 16) / 2.
const Block& cosines() {
  static const Block matrix = [] {
    Block m;
    for (size_t u = 0; u < 8; ++u)
      for (size_t i = 0; i < 8; ++i)
        m[8 * u + i] = u == 0 ? std::sqrt(0.125)
                              : std::cos(static_cast<double>((2 * i + 1) * u) * std::numbers::pi / 16) / 2;
    return m;
  }();
  return matrix;
}

Block product(const Block& a, const Block& b) {
  Block c{};
  for (size_t i = 0; i < 8; ++i)
    for (size_t k = 0; k < 8; ++k)
      for (size_t j = 0; j < 8; ++j) c[8 * i + j] += a[8 * i + k] * b[8 * k + j];
  return c;
}

Block transposed(const Block& a) {
  Block t;
  for (size_t i = 0; i < 64; ++i) t[i] = a[8 * (i % 8) + i / 8];
  return t;
}

/// The nearest of the 256 values that a sample can have.
double sample(double value) { return std::clamp(std::nearbyint(value), 0.0, 255.0); }

/// What the codec makes of the samples of one block.
Block coded(Block block, const Table& table) {
  const Block &forward = cosines(), backward = transposed(forward);
  for (double& s : block) s -= 128;
  block = product(product(forward, block), backward);
  for (size_t i = 0; i < 64; ++i) block[i] = std::nearbyint(block[i] / table[i]) * table[i];
  block = product(product(backward, block), forward);
  for (double& s : block) s = sample(s + 128);
  return block;
}

/// The same for all blocks of a plane; in place, as a block takes the pixels that fill it up from itself.
void code(std::vector<double>& plane, int64_t height, int64_t width, const Table& table) {
  for (int64_t top = 0; top < height; top += 8)
    for (int64_t left = 0; left < width; left += 8) {
      Block block;
      const auto pixel = [&](int64_t i) -> double& {
        return plane[static_cast<size_t>(std::min(top + i / 8, height - 1) * width +
                                         std::min(left + i % 8, width - 1))];
      };
      for (int64_t i = 0; i < 64; ++i) block[static_cast<size_t>(i)] = pixel(i);
      block = coded(block, table);
      for (int64_t i = 0; i < 64; ++i)
        if (top + i / 8 < height && left + i % 8 < width) pixel(i) = block[static_cast<size_t>(i)];
    }
}

using Planes = std::vector<std::vector<double>>;  // of samples, 0 to 255

/// Red, green and blue to luma and chroma, in place.
void to_luma_chroma(Planes& p) {
  for (size_t i = 0; i < p[0].size(); ++i) {
    const double r = p[0][i], g = p[1][i], b = p[2][i];
    p[0][i] = sample(0.299 * r + 0.587 * g + 0.114 * b);
    p[1][i] = sample(128 - 0.168736 * r - 0.331264 * g + 0.5 * b);
    p[2][i] = sample(128 + 0.5 * r - 0.418688 * g - 0.081312 * b);
  }
}

void to_red_green_blue(Planes& p) {
  for (size_t i = 0; i < p[0].size(); ++i) {
    const double y = p[0][i], blue = p[1][i] - 128, red = p[2][i] - 128;
    p[0][i] = sample(y + 1.402 * red);
    p[1][i] = sample(y - 0.344136 * blue - 0.714136 * red);
    p[2][i] = sample(y + 1.772 * blue);
  }
}

}  // namespace

Tensor Jpeg::forward(const Tensor& x) const {
  const int64_t channels = x.size(1), height = x.size(2), width = x.size(3), area = height * width;
  check(channels == 1 || channels == 3, "jpeg: images of {} channels, 1 or 3 expected", channels);
  Tensor y = Tensor::empty(x.shape(), x.dtype());
  for_float_type(x.dtype(), "jpeg", [&]<class T>() {
    parallel_for(x.size(0), [&](int64_t n) {
      Planes planes;
      for (int64_t c = 0; c < channels; ++c) {
        const T* in = x.data<T>() + (n * channels + c) * area;
        planes.emplace_back(static_cast<size_t>(area));
        std::transform(in, in + area, planes.back().begin(),
                       [](T pixel) { return sample(255 * static_cast<double>(pixel)); });
      }
      if (channels == 3) to_luma_chroma(planes);
      for (size_t c = 0; c < planes.size(); ++c) code(planes[c], height, width, c == 0 ? luma_ : chroma_);
      if (channels == 3) to_red_green_blue(planes);
      for (int64_t c = 0; c < channels; ++c)
        std::transform(planes[static_cast<size_t>(c)].begin(), planes[static_cast<size_t>(c)].end(),
                       y.data<T>() + (n * channels + c) * area,
                       [](double s) { return static_cast<T>(s / 255); });
    });
  });
  return y;
}

InputTransformPtr jpeg(int64_t quality) {
  return std::make_shared<Jpeg>(at_quality(luma_of_quality_50, quality),
                                at_quality(chroma_of_quality_50, quality));
}

InputTransformPtr feature_distillation(int64_t step) {
  Table table;
  for (size_t i = 0; i < 64; ++i) table[i] = i / 8 + i % 8 <= 4 ? 1 : 1 + static_cast<double>(step);
  return std::make_shared<Jpeg>(table, table);
}

}  // namespace hashgrad
