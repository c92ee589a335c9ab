// What ops with a fused ReLU save of its output.
#pragma once

#include "core/tensor.h"
#include "cpu/relu_mask.h"

namespace hashgrad {

/// A mask (cpu/relu_mask.h) of y, which lies on the CPU and is contiguous: a thirty-second of y's memory.
/// Worth it where nobody else saves y, as the next layer does for the gradient of its weights.
inline Tensor relu_mask(const Tensor& y, bool nan_passes) {
  Tensor mask = Tensor::empty({cpu::relu_mask_bytes(y.numel())}, DType::uint8);
  for_float_type(y.dtype(), "relu_mask", [&]<class T>() {
    cpu::make_relu_mask(y.numel(), y.data<T>(), nan_passes, mask.data<uint8_t>());
  });
  return mask;
}

}  // namespace hashgrad
