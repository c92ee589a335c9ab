// The three directions of a convolution for operands of bf16 parts (core/math_mode.h): the same products as
// in conv2d.cpp and conv2d_backward.cpp, in the layout of cpu/pair_kernels.h. `parts` is parts_of(), at
// least 1.
#pragma once

#include "cpu/conv2d_plan.h"
#include "cpu/gemm_pairs.h"

namespace hashgrad::cpu {

/// convolve() of conv2d_plan.h; packed weights may be kept (cpu/kept_panels.h). A pair is two neighbouring
/// channels of one pixel, so the images keep their order and are unfolded while packing, as floats are.
void convolve_pairs(int parts, const Conv2dShape& shape, const Conv2dGradient<float>& source,
                    const ConvolvedWeight<float>& weight, const Conv2dEpilogue<float>& to);

/// dx by columns, for any stride and any number of channels; overwritten.
void backward_input_columns_pairs(int parts, const Conv2dShape& shape, const float* weight,
                                  const Conv2dGradient<float>& gradient, float* dx);

/// conv2d_backward_weight() of conv2d.h. A pair is two neighbouring pixels.
void backward_weight_pairs(int parts, const Conv2dShape& shape, const float* x,
                           const Conv2dGradient<float>& gradient, float* dweight, float* dbias);

}  // namespace hashgrad::cpu
