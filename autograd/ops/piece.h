// Addressing stacked cotangents: `copies` equal pieces of one tensor, one after the other along axis 0.
#pragma once

#include "core/tensor.h"

namespace hashgrad {

/// First element of piece `copy` of a contiguous tensor; null if the tensor is undefined.
template <class T>
const T* piece(const Tensor& t, int64_t copy = 0, int64_t copies = 1) {
  return t.defined() ? t.data<T>() + copy * (t.numel() / copies) : nullptr;
}
template <class T>
T* piece(Tensor& t, int64_t copy = 0, int64_t copies = 1) {
  return t.defined() ? t.data<T>() + copy * (t.numel() / copies) : nullptr;
}

}  // namespace hashgrad
