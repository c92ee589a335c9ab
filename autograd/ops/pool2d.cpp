#include "autograd/ops/pool2d.h"

#include "autograd/op_info.h"
#include "autograd/ops/piece.h"
#include "cuda/pool2d.h"

namespace hashgrad {
namespace {

/// The planes of `copies` stacked batches of the images x was made of.
cpu::Pool2dShape pool_shape(const char* op, const Shape& x, const PoolOptions& options, int64_t copies = 1) {
  check(x.rank() == 4, "{}: x of shape {}, [N,C,H,W] expected", op, x);
  const cpu::Pool2dShape shape{copies * x[0] * x[1], x[2],           x[3],
                               options.kernel,       options.stride, options.padding};
  cpu::check_pool2d(shape);
  return shape;
}

Tensor pooled(const Tensor& x, const cpu::Pool2dShape& shape) {
  return Tensor::empty({x.size(0), x.size(1), shape.out_height(), shape.out_width()}, x.dtype(), x.device());
}

}  // namespace

// y[w] = max over window w of x; dx[p] = sum of dy[w] over the windows whose first maximum is p.
Tensor MaxPool2d::forward(Needs needs, const Tensor& x) {
  const cpu::Pool2dShape shape = pool_shape(name, x.shape(), options);
  in_shape = x.shape();
  const Tensor c = x.contiguous();
  Tensor y = pooled(x, shape);
  if (needs[0]) argmax = Storage(static_cast<size_t>(y.numel()) * sizeof(int32_t), x.device());
  for_float_type(x.dtype(), name, [&]<class T>() {
    HASHGRAD_ON(x.device(),
                max_pool2d_forward(shape, c.data<T>(), y.data<T>(),
                                   needs[0] ? reinterpret_cast<int32_t*>(argmax.data()) : nullptr));
  });
  return y;
}

Gradients<1> MaxPool2d::backward(Needs, const Tensor& dy, int64_t copies) const {
  const cpu::Pool2dShape shape = pool_shape(name, in_shape, options);
  const Tensor g = dy.contiguous();
  Tensor dx = Tensor::empty(stacked(in_shape, copies), g.dtype(), g.device());
  for_float_type(g.dtype(), name, [&]<class T>() {
    HASHGRAD_ON(g.device(),
                max_pool2d_backward(shape, g.data<T>(), reinterpret_cast<const int32_t*>(argmax.data()),
                                    dx.data<T>(), copies));
  });
  return {dx};
}

// y[w] = sum of window w / kernel^2; dx[p] = sum of dy[w] / kernel^2 over the windows that hold p.
Tensor AvgPool2d::forward(Needs, const Tensor& x) {
  const cpu::Pool2dShape shape = pool_shape(name, x.shape(), options);
  in_shape = x.shape();
  const Tensor c = x.contiguous();
  Tensor y = pooled(x, shape);
  for_float_type(x.dtype(), name, [&]<class T>() {
    HASHGRAD_ON(x.device(), avg_pool2d_forward(shape, c.data<T>(), y.data<T>()));
  });
  return y;
}

Gradients<1> AvgPool2d::backward(Needs, const Tensor& dy, int64_t copies) const {
  const cpu::Pool2dShape shape = pool_shape(name, in_shape, options, copies);
  const Tensor g = dy.contiguous();
  Tensor dx = Tensor::empty(stacked(in_shape, copies), g.dtype(), g.device());
  for_float_type(g.dtype(), name, [&]<class T>() {
    HASHGRAD_ON(g.device(), avg_pool2d_backward(shape, g.data<T>(), dx.data<T>()));
  });
  return {dx};
}

// y[n,c] = mean of x[n,c,:,:]; dx = dy / (H W), everywhere in the plane.
Tensor GlobalAvgPool::forward(Needs, const Tensor& x) {
  check(x.rank() == 4 && x.size(2) * x.size(3) >= 1, "{}: x of shape {}, [N,C,H,W] with pixels expected",
        name, x.shape());
  in_shape = x.shape();
  const Tensor c = x.contiguous();
  Tensor y = Tensor::empty({x.size(0), x.size(1), 1, 1}, x.dtype(), x.device());
  for_float_type(x.dtype(), name, [&]<class T>() {
    HASHGRAD_ON(x.device(),
                global_avg_pool_forward(y.numel(), x.size(2) * x.size(3), c.data<T>(), y.data<T>()));
  });
  return y;
}

Gradients<1> GlobalAvgPool::backward(Needs, const Tensor& dy, int64_t copies) const {
  const Tensor g = dy.contiguous();
  Tensor dx = Tensor::empty(stacked(in_shape, copies), g.dtype(), g.device());
  for_float_type(g.dtype(), name, [&]<class T>() {
    HASHGRAD_ON(g.device(),
                global_avg_pool_backward(g.numel(), in_shape[2] * in_shape[3], g.data<T>(), dx.data<T>()));
  });
  return {dx};
}

namespace {

template <class Op>
OpInfo pool_row(const char* name, const char* formula, const PoolOptions& options,
                std::vector<std::vector<Shape>> samples) {
  return {name, formula, [options](const std::vector<Variable>& in) { return apply(Op{options}, in[0]); },
          std::move(samples)};
}

const std::vector<std::vector<Shape>> apart = {{{2, 3, 4, 6}}, {{1, 1, 5, 3}}, {{0, 3, 4, 4}}};
const std::vector<std::vector<Shape>> overlapping = {{{2, 3, 5, 4}}, {{1, 1, 3, 3}}, {{1, 17, 1, 2}}};

const RegisterOp rows[] = {
    RegisterOp(pool_row<MaxPool2d>("max_pool2d", "max over each 2x2 window", {2, 2}, apart)),
    RegisterOp(pool_row<MaxPool2d>("max_pool2d_overlap", "max over each 3x3 window, stride 2, padding 1",
                                   {3, 2, 1}, overlapping)),
    RegisterOp(pool_row<AvgPool2d>("avg_pool2d", "mean over each 2x2 window", {2, 2}, apart)),
    RegisterOp(pool_row<AvgPool2d>("avg_pool2d_overlap", "mean over each 3x3 window, stride 2, padding 1",
                                   {3, 2, 1}, overlapping)),
    RegisterOp({"global_avg_pool",
                "mean over the pixels of a channel",
                [](const std::vector<Variable>& in) { return global_avg_pool(in[0]); },
                {{{2, 3, 4, 5}}, {{1, 17, 1, 1}}, {{0, 3, 4, 4}}}})};

}  // namespace
}  // namespace hashgrad
