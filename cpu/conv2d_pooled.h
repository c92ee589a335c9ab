// The two gradients of a convolution behind which ReLU and 2x2 max pooling are fused. Of the four outputs of
// a window one has a gradient, if the ReLU lets it through: three quarters of the products and more would be
// with zeros. Here each number that arrives is multiplied with the taps of its own window alone, channels
// side by side. The order of all sums is a function of the shape and of what arrives, so the bits are the
// same on every instruction set that rounds a product and a sum at once.
#pragma once

#include "cpu/conv2d.h"

namespace hashgrad::cpu {

/// Whether these are for that convolution, a function of the shape of one image, of --math and the
/// instruction set: square kernels of 3 and 5, eight input channels and more, windows enough to make up for
/// the weights' way into the lanes. Sums are in T, so not where --math asks for bf16 parts whose products are
/// faster: one, unless fewer_products_pay() (cpu/gemm_pairs.h), or two of 32 input channels and more.
template <class T>
bool pooled_gradient_fits(const Conv2dShape& shape);

/// conv2d_backward_input() and conv2d_backward_weight() of cpu/conv2d.h for a gradient with argmax.
template <class T>
void backward_input_pooled(const Conv2dShape& shape, const T* weight, const Conv2dGradient<T>& gradient,
                           T* dx, int64_t copies);
template <class T>
void backward_weight_pooled(const Conv2dShape& shape, const T* x, const Conv2dGradient<T>& gradient,
                            T* dweight, T* dbias);

}  // namespace hashgrad::cpu
