#include "nn/transforms/bit_depth.h"

#include <algorithm>
#include <cmath>

namespace hashgrad {

Tensor BitDepth::forward(const Tensor& x) const {
  Tensor y = Tensor::empty(x.shape(), x.dtype());
  for_float_type(x.dtype(), "bit-depth", [&]<class T>() {
    const T* in = x.data<T>();
    std::transform(in, in + x.numel(), y.data<T>(), [top = top_](T pixel) {
      return static_cast<T>(std::nearbyint(static_cast<double>(pixel) * top) / top);
    });
  });
  return y;
}

}  // namespace hashgrad
