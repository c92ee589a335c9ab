// Winograd's convolution F(2x2, 3x3): outputs in tiles of 2x2, each from 4x4 inputs by 16 products for every
// pair of channels where the direct way takes 36. A 5x5 kernel is the sum of one of 3x3, two of 3x2 and one
// of 2x2, two inputs apart: 49 products in the place of 100.
#pragma once

#include "cpu/conv2d.h"
#include "cpu/conv2d_plan.h"

namespace hashgrad::cpu {

/// Whether convolutions of this shape go this way: 3x3 or 5x5, stride 1, an even number of outputs, at least
/// 6, in each line and column, at least 32 channels on both sides; in fp32 (parts 0), and in bf16 (parts 1)
/// with AVX-512's products of pairs, there with at least 4 outputs. Tiles of bf16 take less time for all
/// products than for the transforms.
/// Independent of the batch, so that one image has the same bits in any.
bool winograd_fits(const Conv2dShape& shape, int parts);

/// Some neighbours among the outputs of a line or column.
struct OutputRange {
  int64_t first, size;
};
/// The outputs to compute, these among them, where a piece of the outputs shall have the bits of the whole:
/// so that the piece goes the way that the whole goes, in the same tiles. Applies to both axes of any shape.
/// Its size depends on that of `wanted` alone. outputs: those of a whole line or column.
OutputRange same_tiles(const Conv2dShape& shape, OutputRange wanted, int64_t outputs);

/// convolve() (cpu/conv2d_plan.h) for such shapes; transformed weights may be kept (cpu/kept_panels.h). In
/// bf16 inputs and weights are rounded once they are transformed. Each output is computed from all inputs of
/// its tile, 4x4 or 6x6: where others than its own change, its last bits may, too. The sums run over quarters
/// of the kernel and their channels in order.
void convolve_winograd(int parts, const Conv2dShape& shape, const Conv2dGradient<float>& source,
                       const ConvolvedWeight<float>& weight, const Conv2dEpilogue<float>& to);

/// Whether the weight gradient of this shape goes this way too, F(3x3, 2x2): 16 products in the place of 36
/// for a tile of 2x2 gradients. 3x3 kernels, as winograd_fits(), but down to two outputs in each line and
/// column, and a batch of some tiles.
bool winograd_weight_fits(const Conv2dShape& shape, int parts);

/// conv2d_backward_weight() for such shapes. In bf16 inputs and gradients are rounded once they are
/// transformed.
void backward_weight_winograd(int parts, const Conv2dShape& shape, const float* x,
                              const Conv2dGradient<float>& gradient, float* dweight, float* dbias);

}  // namespace hashgrad::cpu
