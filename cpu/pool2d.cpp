#include "cpu/pool2d.h"

#include <algorithm>
#include <limits>

#include "core/error.h"
#include "cpu/blocking.h"
#include "cpu/for_rows.h"
#include "cpu/kernels.h"
#include "cpu/pool_kernels.h"
#include "cpu/scratch.h"

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

/// body(plane), in parallel.
template <class Body>
void for_planes(const Pool2dShape& s, const Body& body) {
  for_rows(s.planes, s.height * s.width, 16 * 1024, body);
}

/// body(input offset of the plane, output index, window) for every output, planes in parallel.
template <class Body>
void for_windows(const Pool2dShape& s, const Body& body) {
  const int64_t height = s.out_height(), width = s.out_width();
  for_planes(s, [&](int64_t plane) {
    for (int64_t oy = 0; oy < height; ++oy)
      for (int64_t ox = 0; ox < width; ++ox)
        body(plane * s.height * s.width, (plane * height + oy) * width + ox, window(s, oy, ox));
  });
}

/// The common window, by the kernel that is fused behind convolutions too.
template <class T>
void max_pool_2x2(const Pool2dShape& s, const T* x, T* y, int32_t* argmax) {
  const int64_t height = s.out_height(), width = s.out_width();
  for_planes(s, [&](int64_t plane) {
    const Scratch<uint8_t> places(height * width);
    conv2d_kernels().of<T>().pool_2x2(s.height, s.width, x + plane * s.height * s.width,
                                      y + plane * height * width, places.data());
    for (int64_t oy = 0; argmax && oy < height; ++oy) {
      const uint8_t* place = places.data() + oy * width;
      int32_t* to = argmax + (plane * height + oy) * width;
      const auto row = static_cast<int32_t>(s.width), first = static_cast<int32_t>(2 * oy * s.width);
      for (int32_t ox = 0; ox < static_cast<int32_t>(width); ++ox)
        to[ox] = first + 2 * ox + (place[ox] >= 2 ? row : 0) + place[ox] % 2;
    }
  });
}

/// The rows of a plane as PoolRows has them, [height][stride][length]: so every place of the window meets a
/// row of outputs as neighbours.
template <class T>
void take_apart(const Pool2dShape& s, int64_t length, const T* x, T* parts) {
  std::fill_n(parts, s.height * s.stride * length, -std::numeric_limits<T>::infinity());
  for (int64_t r = 0; r < s.height; ++r, x += s.width)
    for (int64_t q = 0; q < s.stride; ++q, parts += length) {
      const int64_t offset = q - s.padding, skipped = offset < 0 ? divide_up(-offset, s.stride) : 0;
      for (int64_t i = skipped; i < length && i * s.stride + offset < s.width; ++i)
        parts[i] = x[i * s.stride + offset];
    }
}

template <class T>
void max_pool_row(const Pool2dShape& s, int64_t oy, int64_t length, const T* parts, T* y, int32_t* argmax) {
  const int64_t width = s.out_width(), y0 = oy * s.stride - s.padding;
  const int64_t top = std::max<int64_t>(y0, 0), bottom = std::min(y0 + s.kernel, s.height);
  for (int64_t ox = 0; ox < width; ++ox)
    argmax[ox] = static_cast<int32_t>(top * s.width + std::max<int64_t>(ox * s.stride - s.padding, 0));
  pool_kernels().of<T>().max_row(
      {parts + top * s.stride * length, bottom - top, s.kernel, s.stride, length,
       static_cast<int32_t>(top * s.width - s.padding), static_cast<int32_t>(s.width)},
      width, y, argmax);
}

}  // namespace

void check_pool2d(const Pool2dShape& s) {
  constexpr int64_t most_pixels = INT32_MAX;  // what argmax can name
  check(s.planes >= 0 && s.height >= 1 && s.width >= 1, "pool2d: {} planes of {} x {}", s.planes, s.height,
        s.width);
  check(s.height <= most_pixels / s.width, "pool2d: planes of {} x {} have more than {} pixels", s.height,
        s.width, most_pixels);
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
  const int64_t height = shape.out_height(), width = shape.out_width();
  const int64_t length = width + (shape.kernel - 1) / shape.stride;
  for_planes(shape, [&](int64_t plane) {
    const Scratch<T> parts(shape.height * shape.stride * length);
    const Scratch<int32_t> unwanted(width);
    take_apart(shape, length, x + plane * shape.height * shape.width, parts.data());
    for (int64_t oy = 0; oy < height; ++oy) {
      const int64_t at = (plane * height + oy) * width;
      max_pool_row(shape, oy, length, parts.data(), y + at, argmax ? argmax + at : unwanted.data());
    }
  });
}

template <class T>
void max_pool2d_backward(const Pool2dShape& shape, const T* dy, const int32_t* argmax, T* dx,
                         int64_t copies) {
  check_pool2d(shape);
  const int64_t inputs = shape.height * shape.width, outputs = shape.out_height() * shape.out_width();
  for (int64_t copy = 0; copy < copies; ++copy, dx += shape.planes * inputs, dy += shape.planes * outputs)
    for_planes(shape, [&](int64_t plane) {
      T* to = dx + plane * inputs;
      std::fill_n(to, inputs, T{0});
      for (int64_t out = plane * outputs; out < (plane + 1) * outputs; ++out) to[argmax[out]] += dy[out];
    });
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
  for_rows(planes, pixels, 64 * 1024, [&](int64_t plane) {
    T total{0};
    for (int64_t i = 0; i < pixels; ++i) total += x[plane * pixels + i];
    y[plane] = total / static_cast<T>(pixels);
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
