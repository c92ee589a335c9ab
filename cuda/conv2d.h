// The convolutions of cpu/conv2d.h: the matrix product of cuda/product.h with operands that are found in the
// image as they are read. No unfolded image exists in memory.
//
// An output of one image, and a pixel of its input gradient, is one chain of products over (channel, tap), so
// that its bits depend on that image alone. Sums over the batch are cut by the shape alone.
#pragma once

#include "cpu/conv2d.h"
#include "cuda/engines.h"

// clang-format off
namespace hashgrad {
HASHGRAD_ENGINES(

template <class T>
void conv2d_forward(const cpu::Conv2dShape& shape, const T* x, const T* weight, const T* bias, bool relu, T* y);

template <class T>
void conv2d_norm_forward(const cpu::Conv2dShape& shape, const T* x, const T* weight, const T* bias,
                         const cpu::Conv2dNorm<T>& norm, T* y);

template <class T>
void conv2d_relu_pool_forward(const cpu::Conv2dShape& shape, const T* x, const T* weight, const T* bias, T* pooled,
                              uint8_t* argmax);

template <class T>
void conv2d_backward_input(const cpu::Conv2dShape& shape, const T* weight, const cpu::Conv2dGradient<T>& gradient, T* dx,
                           int64_t copies = 1);

template <class T>
void conv2d_backward_weight(const cpu::Conv2dShape& shape, const T* x, const cpu::Conv2dGradient<T>& gradient,
                            T* dweight, T* dbias);

)  // HASHGRAD_ENGINES
}  // namespace hashgrad
// clang-format on
