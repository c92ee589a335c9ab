#include "autograd/ops/conv2d.h"

#include "autograd/op_info.h"
#include "autograd/ops/piece.h"
#include "autograd/ops/relu_mask.h"
#include "cuda/conv2d.h"

namespace hashgrad {

cpu::Conv2dShape conv2d_shape(const char* name, const Tensor& in, const Tensor& w, const Tensor& bias,
                              const Conv2dOptions& options) {
  check(in.rank() == 4, "{}: x of shape {}, [N,C,H,W] expected", name, in.shape());
  check(w.rank() == 4 && w.size(1) == in.size(1),
        "{}: weight of shape {} for x of shape {}, [O,{},kh,kw] expected", name, w.shape(), in.shape(),
        in.size(1));
  check(!bias.defined() || bias.shape() == Shape{w.size(0)}, "{}: bias of shape {}, [{}] expected", name,
        bias.shape(), w.size(0));
  check(w.dtype() == in.dtype() && (!bias.defined() || bias.dtype() == in.dtype()),
        "{}: x is {}, weight {}, bias {}: one type expected", name, name_of(in.dtype()), name_of(w.dtype()),
        bias.defined() ? name_of(bias.dtype()) : "none");
  check(w.device() == in.device() && (!bias.defined() || bias.device() == in.device()),
        "{}: x is on {}, weight on {}: one device expected", name, to_string(in.device()),
        to_string(w.device()));
  const cpu::Conv2dShape shape{in.size(0), in.size(1), in.size(2),     in.size(3),     w.size(0),
                               w.size(2),  w.size(3),  options.stride, options.padding};
  cpu::check_conv2d(shape);
  return shape;
}

Tensor Conv2d::forward(Needs needs, const Tensor& in, const Tensor& w, const Tensor& bias) {
  shape = conv2d_shape(name, in, w, bias, options);
  const bool relu = options.activation == Activation::relu;
  check(relu || !options.max_pool2, "conv2d: max_pool2 is fused behind ReLU only");
  const Tensor cx = in.contiguous(), cw = w.contiguous(), cb = bias.defined() ? bias.contiguous() : bias;
  const int64_t pool = options.max_pool2 ? 2 : 1;
  Tensor y =
      Tensor::empty({shape.batch, shape.out_channels, shape.out_height() / pool, shape.out_width() / pool},
                    in.dtype(), in.device());
  if (options.max_pool2 && needs.any()) argmax = Tensor::empty(y.shape(), DType::uint8, y.device());
  for_float_type(in.dtype(), name, [&]<class T>() {
    if (options.max_pool2)
      HASHGRAD_ON(y.device(), conv2d_relu_pool_forward(shape, cx.data<T>(), cw.data<T>(), piece<T>(cb),
                                                       y.data<T>(), piece<uint8_t>(argmax)));
    else
      HASHGRAD_ON(y.device(),
                  conv2d_forward(shape, cx.data<T>(), cw.data<T>(), piece<T>(cb), relu, y.data<T>()));
  });
  if (needs[0]) weight = cw;
  if (needs[1] || needs[2]) x = cx;
  const bool masked = y.device() == Device{} && !needs[1] && !options.max_pool2;
  if (relu && needs.any()) (masked ? mask : output) = masked ? relu_mask(y, false) : y;
  return y;
}

// With g = dy where the fused ReLU and pooling let it through, and 0 elsewhere, of shape [N,O,H',W']:
//   dx = sum over the windows that hold a pixel of weight^T g,   dweight = sum_n g[n] * windows(x[n])^T,
//   dbias[o] = sum of g[:,o].
Gradients<3> Conv2d::backward(Needs needs, const Tensor& dy, int64_t copies) const {
  const Tensor g = dy.contiguous();
  const cpu::Conv2dShape& s = shape;
  const Device device = g.device();
  Tensor dx, dweight, dbias;
  if (needs[0]) dx = Tensor::empty({copies * s.batch, s.in_channels, s.height, s.width}, g.dtype(), device);
  if (needs[1])
    dweight =
        Tensor::empty({copies * s.out_channels, s.in_channels, s.kernel_h, s.kernel_w}, g.dtype(), device);
  if (needs[2]) dbias = Tensor::empty({copies * s.out_channels}, g.dtype(), device);
  for_float_type(g.dtype(), name, [&]<class T>() {
    cpu::Conv2dGradient<T> gradient{piece<T>(g), piece<T>(output), piece<uint8_t>(argmax),
                                    piece<uint8_t>(mask)};
    if (needs[0])
      HASHGRAD_ON(device, conv2d_backward_input(s, weight.data<T>(), gradient, piece<T>(dx), copies));
    for (int64_t k = 0; (needs[1] || needs[2]) && k < copies; ++k) {
      gradient.dy = piece<T>(g, k, copies);
      HASHGRAD_ON(device, conv2d_backward_weight(s, piece<T>(x), gradient, piece<T>(dweight, k, copies),
                                                 piece<T>(dbias, k, copies)));
    }
  });
  return {dx, dweight, dbias};
}

namespace {

OpInfo conv2d_row(const char* row_name, const char* formula, const Conv2dOptions& options,
                  std::vector<std::vector<Shape>> samples) {
  OpInfo info{row_name, formula, {}, std::move(samples)};
  info.call = [options](const std::vector<Variable>& in) {
    return conv2d(in[0], in[1], in.size() > 2 ? in[2] : Variable(), options);
  };
  info.flops = [options](const std::vector<Shape>& in) {
    const cpu::Conv2dShape s{in[0][0], in[0][1], in[0][2],       in[0][3],       in[1][0],
                             in[1][2], in[1][3], options.stride, options.padding};
    return 2.0 * static_cast<double>(s.batch * s.out_channels * s.depth()) *
           static_cast<double>(s.out_pixels());
  };
  return info;
}

constexpr Activation no_activation = Activation::none, relu_activation = Activation::relu;

const RegisterOp rows[] = {
    RegisterOp(conv2d_row("conv2d", "W * x + b", {},
                          {{{1, 1, 3, 3}, {1, 1, 1, 1}, {1}},
                           {{2, 3, 5, 4}, {4, 3, 3, 3}},
                           {{1, 1, 7, 6}, {3, 1, 5, 5}, {3}},
                           {{3, 2, 3, 5}, {17, 2, 1, 3}, {17}},
                           {{0, 3, 4, 4}, {2, 3, 3, 3}, {2}}})),
    RegisterOp(conv2d_row("conv2d_padding", "W * pad(x, 1) + b", {1, 1, no_activation, false},
                          {{{2, 3, 4, 3}, {2, 3, 3, 3}, {2}}, {{1, 1, 3, 3}, {3, 1, 5, 5}, {3}}})),
    RegisterOp(conv2d_row("conv2d_stride2", "W * pad(x, 2) + b, stride 2", {2, 2, no_activation, false},
                          {{{2, 1, 5, 6}, {2, 1, 5, 5}, {2}}, {{1, 3, 4, 4}, {3, 3, 1, 1}}})),
    RegisterOp(conv2d_row("conv2d_stride3", "W * x, stride 3", {3, 0, no_activation, false},
                          {{{2, 3, 7, 8}, {2, 3, 3, 3}}, {{1, 1, 5, 5}, {3, 1, 1, 1}, {3}}})),
    RegisterOp(conv2d_row("conv2d_relu", "relu(W * x + b)", {1, 1, relu_activation, false},
                          {{{2, 3, 4, 4}, {3, 3, 3, 3}, {3}}, {{1, 1, 3, 3}, {2, 1, 1, 1}}})),
    RegisterOp(conv2d_row("conv2d_relu_pool", "maxpool2(relu(W * x + b))", {1, 1, relu_activation, true},
                          {{{2, 3, 5, 4}, {3, 3, 3, 3}, {3}},
                           {{1, 1, 6, 7}, {2, 1, 5, 5}},
                           {{0, 1, 4, 4}, {2, 1, 3, 3}, {2}}}))};

}  // namespace
}  // namespace hashgrad
