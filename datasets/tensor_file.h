// Datasets in safetensors files.
#pragma once

#include <string>

#include "datasets/dataset.h"

namespace hashgrad {

/// `x` [N,C,H,W], float32 or float64 in [0,1] or uint8, and, unless the file is unlabelled, `y` [N] int64.
/// Other tensors in the file are left alone. The number of classes is the metadata entry "classes", or else
/// the largest label plus one.
Dataset read_tensor_file(const std::string& path);

}  // namespace hashgrad
