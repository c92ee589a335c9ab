#include "autograd/ops/softmax.h"

#include "autograd/op_info.h"
#include "cuda/softmax.h"

namespace hashgrad {
namespace {

struct Rows {
  int64_t count, length;
};

Rows rows_of(const char* op, const Shape& shape) {
  check(shape.rank() >= 1 && shape[-1] >= 1, "{}: x of shape {}, a last axis of at least 1 expected", op,
        shape);
  return {shape.numel() / shape[-1], shape[-1]};
}

}  // namespace

// y_j = exp(x_j - max) / sum_k exp(x_k - max); dx = y * (dy - sum_k y_k dy_k), for each row.
Tensor Softmax::forward(Needs needs, const Tensor& x) {
  const Rows r = rows_of(name, x.shape());
  const Tensor c = x.contiguous();
  Tensor result = Tensor::empty(x.shape(), x.dtype(), x.device());
  for_float_type(x.dtype(), name, [&]<class T>() {
    HASHGRAD_ON(x.device(), softmax(r.count, r.length, c.data<T>(), result.data<T>()));
  });
  if (needs[0]) y = result;
  return result;
}

Gradients<1> Softmax::backward(Needs, const Tensor& dy, int64_t copies) const {
  const Rows r = rows_of(name, y.shape());
  const Tensor g = dy.contiguous();
  Tensor dx = Tensor::empty(g.shape(), g.dtype(), g.device());
  for_float_type(g.dtype(), name, [&]<class T>() {
    HASHGRAD_ON(g.device(),
                softmax_backward(r.count, r.length, y.data<T>(), g.data<T>(), dx.data<T>(), copies));
  });
  return {dx};
}

// y_j = x_j - max - log sum_k exp(x_k - max); dx = dy - exp(y) * sum_k dy_k, for each row.
Tensor LogSoftmax::forward(Needs needs, const Tensor& x) {
  const Rows r = rows_of(name, x.shape());
  const Tensor c = x.contiguous();
  Tensor result = Tensor::empty(x.shape(), x.dtype(), x.device());
  for_float_type(x.dtype(), name, [&]<class T>() {
    HASHGRAD_ON(x.device(), log_softmax(r.count, r.length, c.data<T>(), result.data<T>()));
  });
  if (needs[0]) y = result;
  return result;
}

Gradients<1> LogSoftmax::backward(Needs, const Tensor& dy, int64_t copies) const {
  const Rows r = rows_of(name, y.shape());
  const Tensor g = dy.contiguous();
  Tensor dx = Tensor::empty(g.shape(), g.dtype(), g.device());
  for_float_type(g.dtype(), name, [&]<class T>() {
    HASHGRAD_ON(g.device(),
                log_softmax_backward(r.count, r.length, y.data<T>(), g.data<T>(), dx.data<T>(), copies));
  });
  return {dx};
}

namespace {

const std::vector<std::vector<Shape>> samples = {{{3, 5}}, {{2, 2, 17}}, {{33}}, {{1, 2}}, {{0, 3}}};

const RegisterOp rows[] = {
    RegisterOp({"softmax", "exp(x) / sum(exp(x)) over the last axis",
                [](const std::vector<Variable>& in) { return softmax(in[0]); }, samples}),
    RegisterOp({"log_softmax", "x - log(sum(exp(x))) over the last axis",
                [](const std::vector<Variable>& in) { return log_softmax(in[0]); }, samples})};

}  // namespace
}  // namespace hashgrad
