#include "nn/transforms/median.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/parallel.h"

namespace hashgrad {
namespace {

/// Place of i, of a line of n that is mirrored at both ends again and again: ... 1 0 | 0 1 ... n-1 | n-1 n-2
/// ...
int64_t mirrored(int64_t i, int64_t n) {
  const int64_t period = ((i % (2 * n)) + 2 * n) % (2 * n);
  return period < n ? period : 2 * n - 1 - period;
}

/// One channel of one image.
template <class T>
struct Plane {
  const T* pixels;
  int64_t height, width;

  /// Number of the pixel that the window around pixel `centre` selects.
  int64_t selected(int64_t centre, int64_t size) const {
    std::vector<int64_t> window;
    for (int64_t i = centre / width - size / 2, row = 0; row < size; ++row, ++i)
      for (int64_t j = centre % width - size / 2, column = 0; column < size; ++column, ++j)
        window.push_back(mirrored(i, height) * width + mirrored(j, width));
    const auto nan =
        std::find_if(window.begin(), window.end(), [&](int64_t p) { return std::isnan(pixels[p]); });
    if (nan != window.end()) return *nan;
    const auto middle = window.begin() + std::ssize(window) / 2;
    std::nth_element(window.begin(), middle, window.end(),
                     [&](int64_t a, int64_t b) { return pixels[a] < pixels[b]; });
    int64_t first = *middle;
    for (const int64_t p : window)
      if (pixels[p] == pixels[first]) first = std::min(first, p);
    return first;
  }
};

}  // namespace

Tensor Median::forward(const Tensor& x) const {
  Tensor y = Tensor::empty(x.shape(), x.dtype());
  const int64_t area = x.size(2) * x.size(3);
  for_float_type(x.dtype(), "median", [&]<class T>() {
    parallel_for(x.size(0) * x.size(1), [&](int64_t plane) {
      const Plane<T> in{x.data<T>() + plane * area, x.size(2), x.size(3)};
      T* out = y.data<T>() + plane * area;
      for (int64_t p = 0; p < area; ++p) out[p] = in.pixels[in.selected(p, size_)];
    });
  });
  return y;
}

Tensor Median::backward(const Tensor& x, const Tensor& dy, int64_t copies) const {
  Tensor dx = Tensor::zeros(dy.shape(), dy.dtype());
  const int64_t area = x.size(2) * x.size(3), planes = x.size(0) * x.size(1);
  for_float_type(x.dtype(), "median", [&]<class T>() {
    parallel_for(planes, [&](int64_t plane) {
      const Plane<T> in{x.data<T>() + plane * area, x.size(2), x.size(3)};
      for (int64_t p = 0; p < area; ++p) {
        const int64_t from = in.selected(p, size_);
        for (int64_t k = 0; k < copies; ++k) {
          const int64_t at = (k * planes + plane) * area;
          dx.data<T>()[at + from] += dy.data<T>()[at + p];
        }
      }
    });
  });
  return dx;
}

}  // namespace hashgrad
