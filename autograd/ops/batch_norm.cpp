#include "autograd/ops/batch_norm.h"

#include "autograd/op_info.h"
#include "autograd/ops/piece.h"
#include "cuda/batch_norm.h"

namespace hashgrad {
namespace {

void check_batch_norm(const Tensor& x, std::initializer_list<const Tensor*> per_channel,
                      const BatchNormOptions& options) {
  check(x.rank() == 2 || x.rank() == 4, "batch_norm: x of shape {}, [N,C,H,W] or [N,C] expected", x.shape());
  for (const Tensor* t : per_channel) {
    check(!t->defined() || (t->shape() == Shape{x.size(1)} && t->dtype() == x.dtype() && t->is_contiguous()),
          "batch_norm: {} of shape {} for x of shape {}, {} [{}] expected", name_of(t->dtype()), t->shape(),
          x.shape(), name_of(x.dtype()), x.size(1));
    check(!t->defined() || t->device() == x.device(),
          "batch_norm: x is on {}, a parameter on {}: one device expected", to_string(x.device()),
          to_string(t->device()));
  }
  check(options.eps > 0 && options.momentum >= 0 && options.momentum <= 1,
        "batch_norm: eps {} and momentum {}, eps > 0 and momentum in [0,1] expected", options.eps,
        options.momentum);
}

}  // namespace

Tensor BatchNorm::forward(Needs needs, const Tensor& in, const Tensor& gamma_in, const Tensor& beta) {
  check(running_mean.defined() && running_var.defined(), "batch_norm: running mean and variance expected");
  check_batch_norm(in, {&gamma_in, &beta, &running_mean, &running_var}, options);
  shape = {in.size(0), in.size(1), in.rank() == 4 ? in.size(2) * in.size(3) : 1};
  const int64_t count = shape.batch * shape.pixels;
  check(!options.training || count >= 2, "batch_norm: training needs two values per channel, x is {}",
        in.shape());

  const Device device = in.device();
  check(!batches.defined() || batches.device() == device,
        "batch_norm: x is on {}, the count of batches on {}", to_string(device), to_string(batches.device()));
  const Tensor cx = in.contiguous();
  Tensor y = Tensor::empty(in.shape(), in.dtype(), device);
  for_float_type(in.dtype(), name, [&]<class T>() {
    if (options.training) {
      mean = Tensor::empty({shape.channels}, in.dtype(), device);
      variance = Tensor::empty({shape.channels}, in.dtype(), device);
      HASHGRAD_ON(device, batch_norm_statistics(shape, cx.data<T>(), mean.data<T>(), variance.data<T>()));
      HASHGRAD_ON(device, batch_norm_move_running(shape, options.momentum, mean.data<T>(), variance.data<T>(),
                                                  running_mean.data<T>(), running_var.data<T>(),
                                                  piece<int64_t>(batches)));
    } else {
      mean = running_mean.clone();
      variance = running_var.clone();
    }
    HASHGRAD_ON(device, batch_norm_forward(shape, cx.data<T>(), mean.data<T>(), variance.data<T>(),
                                           static_cast<T>(options.eps), piece<T>(gamma_in), piece<T>(beta),
                                           y.data<T>()));
  });
  if (needs[0]) gamma = gamma_in;
  if (needs.any() && (options.training || needs[1] || needs[2])) x = cx;
  return y;
}

// With h = (x - mean) / sqrt(variance + eps), and sums and means over batch and pixels, for each channel:
//   dbeta = sum dy,   dgamma = sum dy * h,
//   dx = gamma / sqrt(variance + eps) * (dy - mean(dy) - h * mean(dy * h))  in training, where the statistics
//   depend on x, and only the first of the three terms in inference.
Gradients<3> BatchNorm::backward(Needs needs, const Tensor& dy, int64_t copies) const {
  const Tensor g = dy.contiguous();
  const Device device = g.device();
  Tensor dx, dgamma, dbeta;
  if (needs[0]) dx = Tensor::empty(g.shape(), g.dtype(), device);
  if (needs[1]) dgamma = Tensor::empty({copies * shape.channels}, g.dtype(), device);
  if (needs[2]) dbeta = Tensor::empty({copies * shape.channels}, g.dtype(), device);
  for_float_type(g.dtype(), name, [&]<class T>() {
    const T eps = static_cast<T>(options.eps), *m = mean.data<T>(), *v = variance.data<T>();
    if (!options.training && !needs[1] && !needs[2]) {  // no sums over the batch: all copies are one batch
      const cpu::BatchNormShape all{copies * shape.batch, shape.channels, shape.pixels};
      HASHGRAD_ON(device, batch_norm_inference_backward<T>(all, nullptr, g.data<T>(), m, v, eps,
                                                           piece<T>(gamma), piece<T>(dx), nullptr, nullptr));
      return;
    }
    for (int64_t k = 0; k < copies; ++k) {
      const T* dy_k = piece<T>(g, k, copies);
      T *dx_k = piece<T>(dx, k, copies), *dgamma_k = piece<T>(dgamma, k, copies),
        *dbeta_k = piece<T>(dbeta, k, copies);
      if (options.training)
        HASHGRAD_ON(device, batch_norm_backward(shape, piece<T>(x), dy_k, m, v, eps, piece<T>(gamma), dx_k,
                                                dgamma_k, dbeta_k));
      else
        HASHGRAD_ON(device, batch_norm_inference_backward(shape, piece<T>(x), dy_k, m, v, eps,
                                                          piece<T>(gamma), dx_k, dgamma_k, dbeta_k));
    }
  });
  return {dx, dgamma, dbeta};
}

namespace {

std::function<Variable(const std::vector<Variable>&)> call(bool training) {
  return [training](const std::vector<Variable>& in) {
    Tensor running_mean = Tensor::full({in[0].size(1)}, 0.25, in[0].dtype(), in[0].device());
    Tensor running_var = Tensor::full({in[0].size(1)}, 0.75, in[0].dtype(), in[0].device());
    const auto optional = [&](size_t i) { return in.size() > i ? in[i] : Variable(); };
    return batch_norm(in[0], optional(1), optional(2), running_mean, running_var, {training});
  };
}

const RegisterOp rows[] = {
    RegisterOp({"batch_norm",
                "gamma * (x - mean) / sqrt(var + eps) + beta, this batch's mean and var",
                call(true),
                {{{3, 2, 2, 3}, {2}, {2}}, {{17, 3}, {3}, {3}}, {{2, 1, 3, 3}}}}),
    RegisterOp({"batch_norm_inference",
                "gamma * (x - mean) / sqrt(var + eps) + beta, running mean and var",
                call(false),
                {{{3, 2, 2, 3}, {2}, {2}}, {{1, 3}, {3}, {3}}, {{2, 1, 3, 3}}, {{0, 3}, {3}, {3}}}})};

}  // namespace
}  // namespace hashgrad
