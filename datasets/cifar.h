// The binary format of CIFAR-10 (A. Krizhevsky, "Learning multiple layers of features from tiny images",
// 2009).
#pragma once

#include <string>
#include <vector>

#include "datasets/dataset.h"

namespace hashgrad {

/// Files of records of 3073 bytes (label, then 32x32 red, green and blue planes), one after the other: images
/// [N,3,32,32] uint8, ten classes.
Dataset read_cifar10(const std::vector<std::string>& files);

}  // namespace hashgrad
