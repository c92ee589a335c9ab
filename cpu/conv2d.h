// 2D convolution, NCHW, in three directions, alone or fused with bias, ReLU and 2x2 max pooling. All of them
// are the matrix product of cpu/gemm.h with the unfolded image made panel by panel while packing, never as a
// whole.
#pragma once

#include <cstdint>

namespace hashgrad::cpu {

/// x [batch, in_channels, height, width], weight [out_channels, in_channels, kernel_h, kernel_w],
/// y [batch, out_channels, out_height(), out_width()]. Same stride and zero padding in both directions.
struct Conv2dShape {
  int64_t batch, in_channels, height, width;
  int64_t out_channels, kernel_h, kernel_w;
  int64_t stride = 1, padding = 0;

  int64_t out_height() const { return (height + 2 * padding - kernel_h) / stride + 1; }
  int64_t out_width() const { return (width + 2 * padding - kernel_w) / stride + 1; }
  int64_t depth() const { return in_channels * kernel_h * kernel_w; }  // terms in one output
  int64_t out_pixels() const { return out_height() * out_width(); }    // outputs in one plane
  int64_t in_pixels() const { return height * width; }
};

/// Throws Error naming the offending extent unless sizes are >= 1 (batch >= 0), padding >= 0 and the padded
/// image holds at least one window.
void check_conv2d(const Conv2dShape& shape);

/// y = weight * x + bias, then max(y, 0) when relu. bias [out_channels] or null. y is overwritten.
template <class T>
void conv2d_forward(const Conv2dShape& shape, const T* x, const T* weight, const T* bias, bool relu, T* y);

/// pooled = maxpool2x2(relu(weight * x + bias)), stride 2, odd last row and column dropped; the activation
/// itself is never written. pooled, argmax [batch, out_channels, out_height() / 2, out_width() / 2]; argmax
/// 0..3 = 2 * row + column of the window's first maximum. Needs out_height(), out_width() >= 2. argmax may be
/// null.
template <class T>
void conv2d_relu_pool_forward(const Conv2dShape& shape, const T* x, const T* weight, const T* bias, T* pooled,
                              uint8_t* argmax);

/// Batch norm of inference, an addition and a ReLU behind a convolution, as in batch_norm_forward().
template <class T>
struct Conv2dNorm {
  const T *mean, *variance;  // [out_channels]
  T eps;
  const T *gamma, *beta;  // [out_channels] or null: 1 and 0
  const T* added;         // like y, or null
  bool relu;
};

/// y = norm(weight * x + bias), with the bits of conv2d_forward() and batch_norm_forward() one after the
/// other: each plane is normalised while it is in cache.
template <class T>
void conv2d_norm_forward(const Conv2dShape& shape, const T* x, const T* weight, const T* bias,
                         const Conv2dNorm<T>& norm, T* y);

/// The gradient that arrives at a convolution, seen through what was fused behind it:
///   {dy}                  plain: dy has the shape of y
///   {dy, output}          conv2d_forward with relu: output is its y; dy counts where output > 0
///   {dy, .mask}           the same, told by its mask (cpu/relu_mask.h, NaN does not pass); CPU only
///   {dy, output, argmax}  conv2d_relu_pool_forward: all three have the pooled shape
template <class T>
struct Conv2dGradient {
  const T* dy;
  const T* output = nullptr;
  const uint8_t* argmax = nullptr;
  const uint8_t* mask = nullptr;
};

/// dx [batch, in_channels, height, width] = gradient with respect to x; overwritten. The bits of one image
/// depend on that image and its gradient alone. dy and dx may hold several stacked cotangents, [copies *
/// batch, ...]; output, argmax and mask are those of one.
template <class T>
void conv2d_backward_input(const Conv2dShape& shape, const T* weight, const Conv2dGradient<T>& gradient,
                           T* dx, int64_t copies = 1);

/// dweight (shape of weight) and dbias [out_channels] (either may be null): sums over the batch in a fixed
/// order, overwritten.
template <class T>
void conv2d_backward_weight(const Conv2dShape& shape, const T* x, const Conv2dGradient<T>& gradient,
                            T* dweight, T* dbias);

}  // namespace hashgrad::cpu
