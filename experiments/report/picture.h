// Images as PNG, and grids of them.
#pragma once

#include <string>
#include <vector>

#include "core/tensor.h"

namespace hashgrad::report {

/// How a tensor's values become gray or colour.
enum class Shade {
  pixels,  ///< [0,1]: black to white
  signs    ///< zero is mid gray, the row's largest magnitude black or white: a perturbation, amplified
};

/// One line of a grid: images [N,C,H,W], C 1 or 3, floating.
struct PictureRow {
  Tensor images;
  Shade shade = Shade::pixels;
};

/// PNG bytes of a grid, one image per cell, each pixel drawn `zoom` x `zoom`. All rows must have the same
/// image shape.
std::string png_grid(const std::vector<PictureRow>& rows, int zoom = 3);

}  // namespace hashgrad::report
