#include "autograd/ops/linear.h"

#include "autograd/op_info.h"
#include "autograd/ops/piece.h"
#include "cpu/gemm.h"
#include "cpu/pointwise.h"
#include "cpu/reduce.h"
#include "cuda/gemm.h"
#include "cuda/pointwise.h"
#include "cuda/reduce.h"

namespace hashgrad {
namespace {

void check_inputs(const Tensor& x, const Tensor& w, const Tensor& bias) {
  check(x.rank() == 2 && w.rank() == 2 && x.size(1) == w.size(1),
        "linear: x of shape {} and weight of shape {}, [N,in] and [out,in] expected", x.shape(), w.shape());
  check(!bias.defined() || bias.shape() == Shape{w.size(0)}, "linear: bias of shape {}, [{}] expected",
        bias.shape(), w.size(0));
  check(x.dtype() == w.dtype() && (!bias.defined() || bias.dtype() == x.dtype()),
        "linear: x is {}, weight {}{}{}, one element type expected", name_of(x.dtype()), name_of(w.dtype()),
        bias.defined() ? ", bias " : "", bias.defined() ? name_of(bias.dtype()) : "");
  check(x.device() == w.device() && (!bias.defined() || bias.device() == x.device()),
        "linear: x is on {}, weight on {}: one device expected", to_string(x.device()),
        to_string(w.device()));
}

}  // namespace

Tensor Linear::forward(Needs needs, const Tensor& in, const Tensor& w, const Tensor& bias) {
  check_inputs(in, w, bias);
  const Tensor a = in.contiguous(), b = w.contiguous(), c = bias.defined() ? bias.contiguous() : bias;
  rows = a.size(0), inputs = a.size(1), outputs = b.size(0);
  Tensor out = Tensor::empty({rows, outputs}, a.dtype(), a.device());
  for_float_type(a.dtype(), name, [&]<class T>() {
    const cpu::Epilogue<T> epilogue{.column_bias = piece<T>(c), .relu = activation == Activation::relu};
    HASHGRAD_ON(a.device(), gemm(false, true, rows, outputs, inputs, piece<T>(a), inputs, piece<T>(b), inputs,
                                 piece<T>(out), outputs, epilogue));
  });
  if (needs[0]) weight = b;
  if (needs[1]) x = a;
  if (needs.any() && activation == Activation::relu) y = out;
  return out;
}

/// With g = dy, or with ReLU dy where y > 0:
///   dx [N,in] = g [N,out] weight [out,in],   dweight [out,in] = g^T [out,N] x [N,in],   dbias [out] = sum_n
///   g
/// dx of all stacked cotangents is one product.
Gradients<3> Linear::backward(Needs needs, const Tensor& dy_in, int64_t copies) const {
  const Tensor dy = dy_in.contiguous();                                              // [copies*N,out]
  Tensor g = y.defined() ? Tensor::empty(dy.shape(), dy.dtype(), dy.device()) : dy;  // [copies*N,out]
  const Device device = dy.device();
  Gradients<3> d;
  if (needs[0]) d[0] = Tensor::empty({copies * rows, inputs}, dy.dtype(), dy.device());
  if (needs[1]) d[1] = Tensor::empty({copies * outputs, inputs}, dy.dtype(), dy.device());
  if (needs[2]) d[2] = Tensor::empty({copies * outputs}, dy.dtype(), dy.device());
  for_float_type(dy.dtype(), name, [&]<class T>() {
    for (int64_t k = 0; k < copies; ++k) {
      if (y.defined())
        HASHGRAD_ON(device, unary_backward(cpu::Unary::relu, y.numel(), piece<T>(y), piece<T>(y),
                                           piece<T>(dy, k, copies), piece<T>(g, k, copies)));
      if (needs[1])
        HASHGRAD_ON(device, gemm(true, false, outputs, inputs, rows, piece<T>(g, k, copies), outputs,
                                 piece<T>(x), inputs, piece<T>(d[1], k, copies), inputs));
      if (needs[2])
        HASHGRAD_ON(device, sum_columns(rows, outputs, piece<T>(g, k, copies), piece<T>(d[2], k, copies)));
    }
    if (needs[0])
      HASHGRAD_ON(device, gemm(false, false, copies * rows, inputs, outputs, piece<T>(g), outputs,
                               piece<T>(weight), inputs, piece<T>(d[0]), inputs));
  });
  return d;
}

namespace {

Variable call(const std::vector<Variable>& in, Activation activation) {
  return linear(in[0], in[1], in.size() > 2 ? in[2] : Variable(), activation);
}
const std::vector<std::vector<Shape>> samples = {{{3, 17}, {2, 17}, {2}}, {{1, 1}, {33, 1}, {33}},
                                                 {{17, 3}, {3, 3}},       {{0, 3}, {2, 3}, {2}},
                                                 {{2, 0}, {3, 0}, {3}},   {{33, 5}, {1, 5}, {1}}};
double flops(const std::vector<Shape>& s) {
  return 2.0 * static_cast<double>(s[0].numel()) * static_cast<double>(s[1][0]);
}
const RegisterOp rows[] = {
    RegisterOp({.name = "linear",
                .formula = "x weight^T + bias",
                .call = [](auto& x) { return call(x, Activation::none); },
                .samples = samples,
                .flops = flops}),
    RegisterOp({.name = "linear_relu",
                .formula = "relu(x weight^T + bias), fused",
                .call = [](auto& x) { return call(x, Activation::relu); },
                .samples = samples,
                .flops = flops}),
};

}  // namespace
}  // namespace hashgrad
