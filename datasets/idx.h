// The IDX format of MNIST and Fashion-MNIST (Y. LeCun, C. Cortes, C. Burges, "The MNIST database").
#pragma once

#include <string>

#include "datasets/dataset.h"

namespace hashgrad {

/// One IDX file of unsigned bytes, plain or gzip, with `rank` axes: uint8 tensor of the header's shape.
Tensor read_idx(const std::string& path, int rank);

/// A pair of IDX files: [N,H,W] images become [N,1,H,W], [N] labels in [0, classes) become int64.
Dataset read_idx_pair(const std::string& images, const std::string& labels, int64_t classes = 10);

}  // namespace hashgrad
