// The fully connected layer: product, bias and ReLU in one pass.
#pragma once

#include "autograd/node.h"

namespace hashgrad {

/// What a layer applies to its result before writing it.
enum class Activation { none, relu };

struct Linear {
  static constexpr const char* name = "linear";
  Activation activation;
  int64_t rows = 0, inputs = 0, outputs = 0;
  Tensor x = {}, weight = {};  // saved, each for the gradient of the other
  Tensor y = {};               // saved if ReLU
  Tensor forward(Needs needs, const Tensor& in, const Tensor& w, const Tensor& bias);
  Gradients<3> backward(Needs needs, const Tensor& dy, int64_t copies) const;
};

/// y = activation(x weight^T + bias): x [N,in], weight [out,in], bias [out] or undefined -> [N,out].
template <TensorLike X>
X linear(const X& x, const X& weight, const X& bias = {}, Activation activation = Activation::none) {
  return apply(Linear{activation}, x, weight, bias);
}

}  // namespace hashgrad
