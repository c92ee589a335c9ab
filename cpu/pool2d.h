// Max and average pooling over planes. A plane is one channel of one image: planes = batch * channels.
#pragma once

#include <cstdint>

namespace hashgrad::cpu {

/// x [planes, height, width] -> y [planes, out_height(), out_width()]; square window.
struct Pool2dShape {
  int64_t planes, height, width;
  int64_t kernel, stride, padding = 0;

  int64_t out_height() const { return (height + 2 * padding - kernel) / stride + 1; }
  int64_t out_width() const { return (width + 2 * padding - kernel) / stride + 1; }
};

/// Throws Error unless sizes are >= 1 (planes >= 0), a plane has less than 2^31 pixels, 0 <= padding <=
/// kernel / 2 and one window fits.
void check_pool2d(const Pool2dShape& shape);

/// y = maximum of each window; padding never wins; NaN wins. argmax (shape of y, or null): row * width +
/// column, in the plane, of the first maximum.
template <class T>
void max_pool2d_forward(const Pool2dShape& shape, const T* x, T* y, int32_t* argmax);
/// dx [planes, height, width]: each dy added at its argmax, in the order of the windows; overwritten. dy and
/// dx may hold several stacked cotangents, [copies * planes, ...]; argmax is that of one.
template <class T>
void max_pool2d_backward(const Pool2dShape& shape, const T* dy, const int32_t* argmax, T* dx,
                         int64_t copies = 1);

/// y = window sum / kernel^2 (padded zeros are counted, as PyTorch does by default).
template <class T>
void avg_pool2d_forward(const Pool2dShape& shape, const T* x, T* y);
template <class T>
void avg_pool2d_backward(const Pool2dShape& shape, const T* dy, T* dx);

/// y [planes] = mean of x [planes, pixels]; pixels >= 1. The global average pool.
template <class T>
void global_avg_pool_forward(int64_t planes, int64_t pixels, const T* x, T* y);
template <class T>
void global_avg_pool_backward(int64_t planes, int64_t pixels, const T* dy, T* dx);

}  // namespace hashgrad::cpu
