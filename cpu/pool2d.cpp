#include "cpu/pool2d.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"
#include "cpu/kernels.h"

namespace hashgrad::cpu {
namespace {

/// The part of a window that lies inside the plane.
struct Window {
  int64_t top, bottom, left, right;
};
Window window(const Pool2dShape& s, int64_t oy, int64_t ox) {
  const int64_t y = oy * s.stride - s.padding, x = ox * s.stride - s.padding;
  return {std::max<int64_t>(y, 0), std::min(y + s.kernel, s.height), std::max<int64_t>(x, 0),
          std::min(x + s.kernel, s.width)};
}

/// body(input offset of the plane, output index, window) for every output, planes in parallel.
template <class Body>
void for_windows(const Pool2dShape& s, const Body& body) {
  const int64_t height = s.out_height(), width = s.out_width();
  parallel_ranges(
      s.planes, std::max<int64_t>(1, 16 * 1024 / (s.height * s.width)), [&](int64_t begin, int64_t end) {
        for (int64_t plane = begin; plane < end; ++plane)
          for (int64_t oy = 0; oy < height; ++oy)
            for (int64_t ox = 0; ox < width; ++ox)
              body(plane * s.height * s.width, (plane * height + oy) * width + ox, window(s, oy, ox));
      });
}

/// The common window, by the kernel that is fused behind convolutions too.
template <class T>
void max_pool_2x2(const Pool2dShape& s, const T* x, T* y, int32_t* argmax) {
  const int64_t height = s.out_height(), width = s.out_width();
  parallel_ranges(
      s.planes, std::max<int64_t>(1, 16 * 1024 / (s.height * s.width)), [&](int64_t begin, int64_t end) {
        std::vector<uint8_t> places(static_cast<size_t>(height * width));
        for (int64_t plane = begin; plane < end; ++plane) {
          conv2d_kernels().of<T>().pool_2x2(s.height, s.width, x + plane * s.height * s.width,
                                            y + plane * height * width, places.data());
          for (int64_t i = 0; argmax && i < height * width; ++i) {
            const int64_t place = places[static_cast<size_t>(i)];
            argmax[plane * height * width + i] =
                static_cast<int32_t>((2 * (i / width) + place / 2) * s.width + 2 * (i % width) + place % 2);
          }
        }
      });
}

}  // namespace

void check_pool2d(const Pool2dShape& s) {
  check(s.planes >= 0 && s.height >= 1 && s.width >= 1, "pool2d: {} planes of {} x {}", s.planes, s.height,
        s.width);
  check(s.kernel >= 1 && s.stride >= 1 && s.padding >= 0 && s.padding <= s.kernel / 2,
        "pool2d: kernel {}, stride {}, padding {} (expected kernel, stride >= 1, 0 <= padding <= kernel / 2)",
        s.kernel, s.stride, s.padding);
  check(s.height + 2 * s.padding >= s.kernel && s.width + 2 * s.padding >= s.kernel,
        "pool2d: window of {} does not fit {} x {} with padding {}", s.kernel, s.height, s.width, s.padding);
}

template <class T>
void max_pool2d_forward(const Pool2dShape& shape, const T* x, T* y, int32_t* argmax) {
  check_pool2d(shape);
  if (shape.kernel == 2 && shape.stride == 2 && shape.padding == 0) return max_pool_2x2(shape, x, y, argmax);
  for_windows(shape, [&](int64_t plane, int64_t out, const Window& w) {
    int64_t best = w.top * shape.width + w.left;
    for (int64_t r = w.top; r < w.bottom; ++r)
      for (int64_t c = w.left; c < w.right; ++c) {
        const T value = x[plane + r * shape.width + c];
        if (value > x[plane + best] || std::isnan(value)) best = r * shape.width + c;
      }
    y[out] = x[plane + best];
    if (argmax) argmax[out] = static_cast<int32_t>(best);
  });
}

template <class T>
void max_pool2d_backward(const Pool2dShape& shape, const T* dy, const int32_t* argmax, T* dx,
                         int64_t copies) {
  check_pool2d(shape);
  const int64_t inputs = shape.planes * shape.height * shape.width;
  const int64_t outputs = shape.planes * shape.out_height() * shape.out_width();
  std::fill_n(dx, copies * inputs, T{0});
  for (int64_t copy = 0; copy < copies; ++copy, dx += inputs, dy += outputs)
    for_windows(shape,
                [&](int64_t plane, int64_t out, const Window&) { dx[plane + argmax[out]] += dy[out]; });
}

template <class T>
void avg_pool2d_forward(const Pool2dShape& shape, const T* x, T* y) {
  check_pool2d(shape);
  const T share = 1 / static_cast<T>(shape.kernel * shape.kernel);
  for_windows(shape, [&](int64_t plane, int64_t out, const Window& w) {
    T total{0};
    for (int64_t r = w.top; r < w.bottom; ++r)
      for (int64_t c = w.left; c < w.right; ++c) total += x[plane + r * shape.width + c];
    y[out] = total * share;
  });
}

template <class T>
void avg_pool2d_backward(const Pool2dShape& shape, const T* dy, T* dx) {
  check_pool2d(shape);
  std::fill_n(dx, shape.planes * shape.height * shape.width, T{0});
  const T share = 1 / static_cast<T>(shape.kernel * shape.kernel);
  for_windows(shape, [&](int64_t plane, int64_t out, const Window& w) {
    for (int64_t r = w.top; r < w.bottom; ++r)
      for (int64_t c = w.left; c < w.right; ++c) dx[plane + r * shape.width + c] += dy[out] * share;
  });
}

template <class T>
void global_avg_pool_forward(int64_t planes, int64_t pixels, const T* x, T* y) {
  check(pixels >= 1, "global_avg_pool: planes of {} pixels", pixels);
  parallel_ranges(planes, std::max<int64_t>(1, 64 * 1024 / pixels), [&](int64_t begin, int64_t end) {
    for (int64_t plane = begin; plane < end; ++plane) {
      T total{0};
      for (int64_t i = 0; i < pixels; ++i) total += x[plane * pixels + i];
      y[plane] = total / static_cast<T>(pixels);
    }
  });
}

template <class T>
void global_avg_pool_backward(int64_t planes, int64_t pixels, const T* dy, T* dx) {
  check(pixels >= 1, "global_avg_pool: planes of {} pixels", pixels);
  for (int64_t plane = 0; plane < planes; ++plane)
    std::fill_n(dx + plane * pixels, pixels, dy[plane] / static_cast<T>(pixels));
}

#define INSTANTIATE(T)                                                                          \
  template void max_pool2d_forward(const Pool2dShape&, const T*, T*, int32_t*);                 \
  template void max_pool2d_backward(const Pool2dShape&, const T*, const int32_t*, T*, int64_t); \
  template void avg_pool2d_forward(const Pool2dShape&, const T*, T*);                           \
  template void avg_pool2d_backward(const Pool2dShape&, const T*, T*);                          \
  template void global_avg_pool_forward(int64_t, int64_t, const T*, T*);                        \
  template void global_avg_pool_backward(int64_t, int64_t, const T*, T*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace hashgrad::cpu
