#include "autograd/ops/hashed.h"

#include "autograd/op_info.h"
#include "autograd/ops/piece.h"
#include "cuda/hash_gemm.h"
#include "cuda/pointwise.h"
#include "cuda/reduce.h"

namespace hashgrad {

// y = act(x V^T + bias), all [N,out]
Tensor HashedLinear::forward(Needs needs, const Tensor& in, const Tensor& buckets, const Tensor& bias) {
  check(v != nullptr, "hashed_linear: no hashed matrix given");
  const int64_t out = v->rows();
  check(in.rank() == 2 && in.size(1) == v->columns(), "hashed_linear: x of shape {}, [N,{}] expected",
        in.shape(), v->columns());
  check(buckets.shape() == Shape{v->buckets()}, "hashed_linear: w of shape {}, [{}] expected",
        buckets.shape(), v->buckets());
  check(!bias.defined() || bias.shape() == Shape{out}, "hashed_linear: bias of shape {}, [{}] expected",
        bias.shape(), out);
  check(buckets.dtype() == in.dtype() && (!bias.defined() || bias.dtype() == in.dtype()),
        "hashed_linear: x is {}, w {}, bias {}: one type expected", name_of(in.dtype()),
        name_of(buckets.dtype()), bias.defined() ? name_of(bias.dtype()) : "none");
  const Tensor cx = in.contiguous(), cw = buckets.contiguous(),
               cb = bias.defined() ? bias.contiguous() : bias;
  Tensor y = Tensor::empty({in.size(0), out}, in.dtype(), in.device());
  for_float_type(in.dtype(), name, [&]<class T>() {
    cpu::Epilogue<T> epilogue;
    epilogue.column_bias = piece<T>(cb);
    epilogue.relu = activation == Activation::relu;
    HASHGRAD_ON(in.device(),
                hashed_linear(*v, cw.data<T>(), in.size(0), cx.data<T>(), y.data<T>(), epilogue));
  });
  if (needs[0]) w = cw;
  if (needs[1]) x = cx;
  if (activation == Activation::relu && needs.any()) output = y;
  return y;
}

// With g = dy where ReLU let it through, [N,out]:
//   dx = g V,   dw[b] = sum over the (i,j) of bucket b of sign(i,j) * (g^T x)[i,j],   dbias = sum_n g[n]
Gradients<3> HashedLinear::backward(Needs needs, const Tensor& dy, int64_t copies) const {
  const int64_t n = dy.size(0) / copies, out = v->rows(), in = v->columns();
  const Tensor all = dy.contiguous();
  const Device device = all.device();
  Tensor g = all, dx, dw, dbias;
  if (output.defined()) g = Tensor::empty(all.shape(), all.dtype(), device);
  if (needs[0]) dx = Tensor::empty({copies * n, in}, g.dtype(), device);
  if (needs[1]) dw = Tensor::empty({copies * v->buckets()}, g.dtype(), device);
  if (needs[2]) dbias = Tensor::empty({copies * out}, g.dtype(), device);
  for_float_type(g.dtype(), name, [&]<class T>() {
    if (output.defined())
      HASHGRAD_ON(device, unary_backward(cpu::Unary::relu, n * out, output.data<T>(), output.data<T>(),
                                         piece<T>(all), piece<T>(g), copies));
    if (needs[0])
      HASHGRAD_ON(device,
                  hashed_linear_input_gradient(*v, w.data<T>(), copies * n, piece<T>(g), piece<T>(dx)));
    for (int64_t k = 0; k < copies; ++k) {
      const T* part = piece<T>(g, k, copies);
      if (needs[1])
        HASHGRAD_ON(device, hashed_linear_bucket_gradient(*v, n, x.data<T>(), part, piece<T>(dw, k, copies)));
      if (needs[2]) HASHGRAD_ON(device, sum_columns(n, out, part, piece<T>(dbias, k, copies)));
    }
  });
  return {dx, dw, dbias};
}

// V[i,j] = sign(i,j) * w[bucket(i,j)]; dw[b] = sum over the (i,j) of bucket b of sign(i,j) * dV[i,j]
Tensor HashedWeight::forward(Needs, const Tensor& w) {
  check(v != nullptr, "hashed_weight: no hashed matrix given");
  check(w.shape() == Shape{v->buckets()}, "hashed_weight: w of shape {}, [{}] expected", w.shape(),
        v->buckets());
  check(shape.rank() >= 1 && shape.numel() == v->rows() * v->columns(),
        "hashed_weight: shape {} for a [{},{}] matrix", shape, v->rows(), v->columns());
  const Tensor c = w.contiguous();
  Tensor dense = Tensor::empty(shape, w.dtype(), w.device());
  for_float_type(w.dtype(), name,
                 [&]<class T>() { HASHGRAD_ON(w.device(), materialise(*v, c.data<T>(), dense.data<T>())); });
  return dense;
}

Gradients<1> HashedWeight::backward(Needs, const Tensor& dy, int64_t copies) const {
  const Tensor g = dy.contiguous();
  Tensor dw = Tensor::empty({copies * v->buckets()}, g.dtype(), g.device());
  for_float_type(g.dtype(), name, [&]<class T>() {
    for (int64_t k = 0; k < copies; ++k)
      HASHGRAD_ON(g.device(), scatter(*v, piece<T>(g, k, copies), piece<T>(dw, k, copies)));
  });
  return {dw};
}

namespace {

constexpr uint64_t seed = 0x5eed;

HashSpec spec(const Variable& w, HashMode mode) { return {seed, w.size(0), mode}; }
HashedMatrixPtr shared(cpu::HashedMatrix v) {
  return std::make_shared<const cpu::HashedMatrix>(std::move(v));
}

/// Inputs x [N,in], w [K], bias [out].
std::function<Variable(const std::vector<Variable>&)> linear_call(Activation activation, HashMode mode) {
  return [=](const std::vector<Variable>& in) {
    const auto v = shared(cpu::HashedMatrix::linear(spec(in[1], mode), in[2].size(0), in[0].size(1)));
    return hashed_linear(in[0], in[1], in[2], v, activation);
  };
}

/// Inputs x [N,C,H,W], w [K], bias [out]; a 3x2 kernel.
std::function<Variable(const std::vector<Variable>&)> conv_call(const Conv2dOptions& options, HashMode mode) {
  return [=](const std::vector<Variable>& in) {
    const auto v =
        shared(cpu::HashedMatrix::convolution(spec(in[1], mode), in[2].size(0), in[0].size(1), 3, 2));
    return hashed_conv2d(in[0], in[1], in[2], v, 3, 2, options);
  };
}

const std::vector<std::vector<Shape>> linear_samples = {
    {{3, 5}, {7}, {4}}, {{17, 3}, {1}, {5}}, {{17, 9}, {64}, {33}}, {{0, 5}, {7}, {3}}};
const std::vector<std::vector<Shape>> stratified_samples = {
    {{3, 5}, {32}, {4}}, {{17, 9}, {64}, {33}}, {{1, 129}, {4096}, {3}}, {{0, 5}, {32}, {3}}};
const std::vector<std::vector<Shape>> conv_samples = {
    {{2, 3, 4, 4}, {7}, {4}}, {{1, 1, 5, 3}, {1}, {1}}, {{2, 2, 3, 5}, {64}, {17}}, {{0, 1, 4, 4}, {7}, {2}}};

const RegisterOp rows[] = {
    RegisterOp({"hashed_linear", "x V^T + b, V hashed from K values",
                linear_call(Activation::none, HashMode::full), linear_samples}),
    RegisterOp({"hashed_linear_relu", "relu(x V^T + b), V hashed from K values",
                linear_call(Activation::relu, HashMode::full), linear_samples}),
    RegisterOp({"hashed_linear_strat", "x V^T + b, V spread over memory banks",
                linear_call(Activation::none, HashMode::strat), stratified_samples}),
    RegisterOp({"hashed_linear_window", "x V^T + b, V spread over memory banks, near each other",
                linear_call(Activation::none, HashMode::window), stratified_samples}),
    RegisterOp({"hashed_linear_xxhash", "x V^T + b, V placed as in the HashedNets release",
                linear_call(Activation::none, HashMode::xxhash), linear_samples}),
    RegisterOp(
        {"hashed_conv2d", "V * x + b, V hashed from K values", conv_call({}, HashMode::full), conv_samples}),
    RegisterOp({"hashed_conv2d_relu_pool", "maxpool2(relu(V * x + b)), V hashed from K values",
                conv_call({1, 1, Activation::relu, true}, HashMode::full), conv_samples}),
    RegisterOp({"hashed_bias",
                "b_i = sign(i) * w[bucket(i)]",
                [](const std::vector<Variable>& in) {
                  return hashed_bias(in[0],
                                     shared(cpu::HashedMatrix::linear_bias(spec(in[0], HashMode::full), 33)));
                },
                {{{1}}, {{7}}, {{64}}}})};

}  // namespace
}  // namespace hashgrad
