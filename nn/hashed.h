// Hashed layers (Chen et al., ICML 2015): a virtual weight matrix V[i,j] = sign(i,j) * w[bucket(i,j)], of
// which only the K bucket values are stored and trained. What the network computes is that of the dense layer
// with weights V.
#pragma once

#include "autograd/ops/hashed.h"
#include "nn/conv.h"
#include "nn/module.h"

namespace hashgrad {

/// Bucket values, and the bias: plain [out], or bucket values of its own when `hashed_bias_of` is set.
class HashedParameters {
 public:
  HashedParameters(HashedMatrixPtr weights, HashedMatrixPtr hashed_bias_of, bool with_bias, DType dtype)
      : v(std::move(weights)),
        bias_v(std::move(hashed_bias_of)),
        weight(Variable::leaf(Tensor::zeros({v->buckets()}, dtype))) {
    if (with_bias) bias_ = Variable::leaf(Tensor::zeros({bias_v ? bias_v->buckets() : v->rows()}, dtype));
  }

  /// The bias as the layer adds it, [out], or undefined.
  template <TensorLike X>
  X bias(const Pass& pass) const {
    return bias_v && bias_.defined() ? hashed_bias(as<X>(bias_, pass), bias_v) : as<X>(bias_, pass);
  }

  std::vector<Parameter> list() {
    if (!bias_.defined()) return {{"weight", &weight, true}};
    return {{"weight", &weight, true}, {"bias", &bias_, bias_v != nullptr}};
  }

  /// The law of the dense layer: each virtual weight is plus or minus one draw.
  void initialise(const Initialiser& init, int64_t fan_out) {
    init.weight(weight.value(), v->columns(), fan_out);
    if (bias_.defined()) init.bias(bias_.value(), v->columns());
  }

  HashedMatrixPtr v, bias_v;
  Variable weight;  // [K]

 private:
  Variable bias_;  // [out], or [Kb], or undefined
};

class HashedLinearLayer final : public Layer<HashedLinearLayer> {
 public:
  explicit HashedLinearLayer(HashedParameters parameters) : own_(std::move(parameters)) {}

  template <TensorLike X>
  X run(const X& x, const Pass& pass, Fused fused) const {  // [N, in]
    const Activation activation = fused.relu ? Activation::relu : Activation::none;
    return hashed_linear(x, as<X>(own_.weight, pass), own_.bias<X>(pass), own_.v, activation);  // [N, out]
  }

  std::vector<Parameter> parameters() override { return own_.list(); }
  void initialise(const Initialiser& init) override { own_.initialise(init, own_.v->rows()); }

 private:
  HashedParameters own_;
};

class HashedConvLayer final : public Layer<HashedConvLayer> {
 public:
  HashedConvLayer(HashedParameters parameters, const LayerSpec& layer)
      : own_(std::move(parameters)), kernel_(layer.kernel), stride_(layer.stride), padding_(layer.padding) {}

  template <TensorLike X>
  X run(const X& x, const Pass& pass, Fused fused) const {  // [N, in, H, W]
    return hashed_conv2d(padded(x, padding_), as<X>(own_.weight, pass), own_.bias<X>(pass), own_.v,
                         kernel_.height, kernel_.width,
                         conv_options(stride_, padding_, fused));  // [N, out, H', W']
  }

  std::vector<Parameter> parameters() override { return own_.list(); }
  void initialise(const Initialiser& init) override {
    own_.initialise(init, own_.v->rows() * kernel_.height * kernel_.width);
  }

 private:
  HashedParameters own_;
  Extent kernel_;
  int64_t stride_;
  Extent padding_;
};

}  // namespace hashgrad
