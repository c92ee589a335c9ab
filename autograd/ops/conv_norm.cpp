#include "autograd/ops/conv_norm.h"

#include "autograd/op_info.h"
#include "autograd/ops/piece.h"
#include "cuda/conv2d.h"

namespace hashgrad {

Tensor ConvNorm::forward(Needs needs, const Tensor& in, const Tensor& w, const Tensor& bias,
                         const Tensor& gamma, const Tensor& beta, const Tensor& added) {
  const Needs with_gradient(0b100001);
  check((needs & ~with_gradient).none(), "conv_norm: gradients flow into the image and what is added alone");
  check(!norm.options.training && conv.options.activation == Activation::none,
        "conv_norm: a convolution without activation and batch norm of inference expected");
  const cpu::Conv2dShape s = conv.shape = conv2d_shape(name, in, w, bias, conv.options);
  const Tensor cx = in.contiguous(), cw = w.contiguous(), cb = bias.defined() ? bias.contiguous() : bias,
               ca = added.defined() ? added.contiguous() : added;
  Tensor y = Tensor::empty({s.batch, s.out_channels, s.out_height(), s.out_width()}, in.dtype(), in.device());
  check_batch_norm(y, {&gamma, &beta, &norm.running_mean, &norm.running_var}, norm.options);
  check_added(y, added);
  const bool relu = norm.options.activation == Activation::relu;
  for_float_type(in.dtype(), name, [&]<class T>() {
    const cpu::Conv2dNorm<T> behind{norm.running_mean.data<T>(),
                                    norm.running_var.data<T>(),
                                    static_cast<T>(norm.options.eps),
                                    piece<T>(gamma),
                                    piece<T>(beta),
                                    piece<T>(ca),
                                    relu};
    HASHGRAD_ON(y.device(),
                conv2d_norm_forward(s, cx.data<T>(), cw.data<T>(), piece<T>(cb), behind, y.data<T>()));
  });
  norm.shape = {s.batch, s.out_channels, s.out_pixels()};
  if (needs.none()) return y;
  if (needs[0]) conv.weight = cw;
  norm.gamma = gamma;
  norm.mean = norm.running_mean.clone();
  norm.variance = norm.running_var.clone();
  if (relu) norm.save_output(y, true);
  return y;
}

// The two backward passes one after the other: batch norm's needs nothing but the mask, the convolution's
// nothing but the weights.
Gradients<6> ConvNorm::backward(Needs needs, Tensor dy, int64_t copies) const {
  Needs of_norm, of_conv;
  of_norm[0] = of_conv[0] = needs[0];
  of_norm[3] = needs[5];
  const Gradients<4> behind = norm.backward(of_norm, std::move(dy), copies);
  Gradients<6> gradients;
  if (needs[0]) gradients[0] = conv.backward(of_conv, behind[0], copies)[0];
  gradients[5] = behind[3];
  return gradients;
}

namespace {

/// Kernels of 3x3 with distinct, small weights of both signs.
Tensor some_weights(int64_t out, const Tensor& x) {
  Tensor weight = Tensor::empty({out, x.size(1), 3, 3}, DType::float64);
  for (int64_t i = 0; i < weight.numel(); ++i)
    weight.data<double>()[i] = static_cast<double>(i * 37 % 101 - 50) / 100;
  return weight.to(x.dtype()).to(x.device());
}

/// Inputs: x and, in some, what is added; the parameters are constants.
OpInfo row(const char* row_name, const char* formula, const Conv2dOptions& options, Activation activation,
           std::vector<std::vector<Shape>> samples) {
  OpInfo info{row_name, formula, {}, std::move(samples)};
  info.call = [=](const std::vector<Variable>& in) {
    constexpr int64_t out = 3;
    const auto constant = [&](double value) {
      return Tensor::full({out}, value, in[0].dtype(), in[0].device());
    };
    return conv_norm(in[0], Variable(some_weights(out, in[0].value())), Variable(constant(0.125)), options,
                     Variable(constant(1.5)), Variable(constant(-0.25)), constant(0.25), constant(0.75),
                     {.training = false, .activation = activation}, in.size() > 1 ? in[1] : Variable());
  };
  return info;
}

constexpr Activation no_activation = Activation::none, relu_activation = Activation::relu;

const RegisterOp rows[] = {
    RegisterOp(row("conv_norm", "batch_norm_inference(W * pad(x, 1) + b)", {1, 1}, no_activation,
                   {{{2, 3, 5, 4}}, {{0, 2, 4, 4}}})),
    RegisterOp(row("conv_norm_relu", "relu(batch_norm_inference(W * x + b)), stride 2", {2, 0},
                   relu_activation, {{{2, 1, 7, 6}}, {{9, 2, 5, 5}}})),
    RegisterOp(row("conv_norm_add_relu", "relu(batch_norm_inference(W * pad(x, 1) + b) + added)", {1, 1},
                   relu_activation, {{{2, 2, 4, 5}, {2, 3, 4, 5}}, {{9, 1, 3, 3}, {9, 3, 3, 3}}}))};

}  // namespace
}  // namespace hashgrad
