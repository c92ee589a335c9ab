// Dropout (Srivastava et al., JMLR 2014) whose mask is a function of the sample, not of the batch.
#pragma once

#include "autograd/node.h"

namespace hashgrad {

/// What the random numbers of one layer in one step depend on: row n of the batch is sample samples[n]. Step
/// and samples are read from memory when the op runs: from that of x, or they are on the CPU, where they are
/// looked at (0 to 2^32 - 1 and 0 to 2^48 - 1), and copied.
struct RowKey {
  uint64_t seed;
  uint32_t layer;  // place of the layer in the network
  Tensor step;     // [1] int64
  Tensor samples;  // [N] int64
};

struct Dropout {
  static constexpr const char* name = "dropout";
  double p;
  RowKey key;  // saved: step and samples on the device of x
  Tensor forward(Needs needs, const Tensor& x);
  Gradients<1> backward(Needs needs, const Tensor& dy, int64_t copies) const;
};

/// Zeroes each element of x [N,...] with probability p in [0, 1) and divides the others by 1 - p. The mask is
/// never stored: backward draws it again.
template <TensorLike X>
X dropout(const X& x, double p, const RowKey& key) {
  return apply(Dropout{p, key}, x);
}

}  // namespace hashgrad
