#include "autograd/ops/batch_norm.h"

#include "autograd/op_info.h"
#include "autograd/ops/piece.h"
#include "autograd/ops/relu_mask.h"
#include "cuda/batch_norm.h"

namespace hashgrad {

void check_batch_norm(const Tensor& x, std::initializer_list<const Tensor*> per_channel,
                      const BatchNormOptions& options) {
  check(x.rank() == 2 || x.rank() == 4, "batch_norm: x of shape {}, [N,C,H,W] or [N,C] expected", x.shape());
  for (const Tensor* t : per_channel) {
    check(!t->defined() || (t->shape() == Shape{x.size(1)} && t->dtype() == x.dtype() && t->is_contiguous()),
          "batch_norm: {} of shape {} for x of shape {}, {} [{}] without gaps expected", name_of(t->dtype()),
          t->shape(), x.shape(), name_of(x.dtype()), x.size(1));
    check(!t->defined() || t->device() == x.device(),
          "batch_norm: x is on {}, a parameter on {}: one device expected", to_string(x.device()),
          to_string(t->device()));
  }
  check(options.eps > 0 && options.momentum >= 0 && options.momentum <= 1,
        "batch_norm: eps {} and momentum {}, eps > 0 and momentum in [0,1] expected", options.eps,
        options.momentum);
}

void check_added(const Tensor& x, const Tensor& added) {
  if (!added.defined()) return;
  check(added.shape() == x.shape() && added.dtype() == x.dtype(),
        "batch_norm: {} of shape {} is to be added to {} of shape {}, the same expected",
        name_of(added.dtype()), added.shape(), name_of(x.dtype()), x.shape());
  check(added.device() == x.device(), "batch_norm: x is on {}, what is added on {}: one device expected",
        to_string(x.device()), to_string(added.device()));
}

Tensor BatchNorm::forward(Needs needs, const Tensor& in, const Tensor& gamma_in, const Tensor& beta_in,
                          const Tensor& added) {
  check(running_mean.defined() && running_var.defined(), "batch_norm: running mean and variance expected");
  check_batch_norm(in, {&gamma_in, &beta_in, &running_mean, &running_var}, options);
  check_added(in, added);
  shape = {in.size(0), in.size(1), in.rank() == 4 ? in.size(2) * in.size(3) : 1};
  const int64_t count = shape.batch * shape.pixels;
  check(!options.training || count >= 2, "batch_norm: training needs two values per channel, x is {}",
        in.shape());

  const Device device = in.device();
  check(!batches.defined() || batches.device() == device,
        "batch_norm: x is on {}, the count of batches on {}", to_string(device), to_string(batches.device()));
  const Tensor cx = in.contiguous(), ca = added.defined() ? added.contiguous() : added;
  const bool relu = options.activation == Activation::relu;
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
                                           static_cast<T>(options.eps), piece<T>(gamma_in), piece<T>(beta_in),
                                           piece<T>(ca), relu, y.data<T>()));
  });
  if (needs.none()) return y;
  if (needs[1] || needs[2] || (needs[0] && options.training)) x = cx;
  const bool from_x = relu && x.defined() && !added.defined();
  if (needs[0] || from_x) gamma = gamma_in;
  if (from_x) beta = beta_in;
  if (relu && !from_x) save_output(y, !needs[1] && !needs[2]);
  return y;
}

void BatchNorm::save_output(const Tensor& y, bool masked) {
  if (masked && y.device() == Device{})
    mask = relu_mask(y, true);
  else
    output = y;
}

// With h = (x - mean) / sqrt(variance + eps), g = dy where a fused ReLU lets it through and 0 elsewhere, and
// sums and means over batch and pixels, for each channel:
//   dbeta = sum g,   dgamma = sum g * h,   dadded = g,
//   dx = gamma / sqrt(variance + eps) * (g - mean(g) - h * mean(g * h))  in training, where the statistics
//   depend on x, and only the first of the three terms in inference.
// One of g and dx takes the place of dy where nobody else holds it.
Gradients<4> BatchNorm::backward(Needs needs, Tensor dy, int64_t copies) const {
  dy = dy.contiguous();
  const bool mine = !dy.is_shared();
  const Device device = dy.device();
  const bool relu = options.activation == Activation::relu, sums = needs[1] || needs[2];
  Tensor dx, dgamma, dbeta, dadded;
  if (needs[0]) dx = mine && !needs[3] ? dy : Tensor::empty(dy.shape(), dy.dtype(), device);
  if (needs[1]) dgamma = Tensor::empty({copies * shape.channels}, dy.dtype(), device);
  if (needs[2]) dbeta = Tensor::empty({copies * shape.channels}, dy.dtype(), device);
  if (needs[3]) dadded = mine || !relu ? dy : Tensor::empty(dy.shape(), dy.dtype(), device);
  for_float_type(dy.dtype(), name, [&]<class T>() {
    const T eps = static_cast<T>(options.eps), *m = mean.data<T>(), *v = variance.data<T>();
    const bool training = options.training && (needs[0] || sums), at_once = !training && !sums;
    const int64_t pieces = at_once ? 1 : copies;  // sums are those of one copy
    for (int64_t k = 0; k < pieces; ++k) {
      cpu::BatchNormGradient<T> g{piece<T>(dy, k, pieces), relu, piece<T>(output), piece<T>(beta)};
      g.mask = piece<uint8_t>(mask);
      if (relu) g.passed = piece<T>(dadded, k, pieces);
      T *dx_k = piece<T>(dx, k, pieces), *dgamma_k = piece<T>(dgamma, k, pieces),
        *dbeta_k = piece<T>(dbeta, k, pieces);
      if (training)
        HASHGRAD_ON(device, batch_norm_backward(shape, piece<T>(x), g, m, v, eps, piece<T>(gamma), dx_k,
                                                dgamma_k, dbeta_k));
      else
        HASHGRAD_ON(device, batch_norm_inference_backward(shape, piece<T>(x), g, m, v, eps, piece<T>(gamma),
                                                          dx_k, dgamma_k, dbeta_k, copies / pieces));
    }
  });
  return {dx, dgamma, dbeta, dadded};
}

namespace {

/// Inputs: x, gamma, beta, added; those missing are undefined.
OpInfo row(const char* row_name, const char* formula, bool training, Activation activation,
           std::vector<std::vector<Shape>> samples) {
  OpInfo info{row_name, formula, {}, std::move(samples)};
  info.call = [=](const std::vector<Variable>& in) {
    Tensor running_mean = Tensor::full({in[0].size(1)}, 0.25, in[0].dtype(), in[0].device());
    Tensor running_var = Tensor::full({in[0].size(1)}, 0.75, in[0].dtype(), in[0].device());
    const auto optional = [&](size_t i) { return in.size() > i ? in[i] : Variable(); };
    return batch_norm(in[0], optional(1), optional(2), running_mean, running_var,
                      {.training = training, .activation = activation}, {}, optional(3));
  };
  return info;
}

constexpr Activation no_activation = Activation::none, relu_activation = Activation::relu;
const std::vector<std::vector<Shape>> alone = {{{3, 2, 2, 3}, {2}, {2}}, {{17, 3}, {3}, {3}}, {{2, 1, 3, 3}}},
                                      beside = {{{3, 2, 2, 3}, {2}, {2}, {3, 2, 2, 3}},
                                                {{17, 3}, {3}, {3}, {17, 3}},
                                                {{2, 1, 5, 7}, {1}, {1}, {2, 1, 5, 7}}},
                                      of_one = {{{3, 2, 2, 3}, {2}, {2}},
                                                {{1, 3}, {3}, {3}},
                                                {{2, 1, 3, 3}},
                                                {{0, 3}, {3}, {3}}};

const RegisterOp rows[] = {
    RegisterOp(row("batch_norm", "gamma * (x - mean) / sqrt(var + eps) + beta, this batch's mean and var",
                   true, no_activation, alone)),
    RegisterOp(row("batch_norm_relu", "relu(batch_norm), fused", true, relu_activation, alone)),
    RegisterOp(row("batch_norm_add", "batch_norm + added, fused", true, no_activation, beside)),
    RegisterOp(row("batch_norm_add_relu", "relu(batch_norm + added), fused", true, relu_activation, beside)),
    RegisterOp(row("batch_norm_inference",
                   "gamma * (x - mean) / sqrt(var + eps) + beta, running mean and var", false, no_activation,
                   of_one)),
    RegisterOp(row("batch_norm_inference_relu", "relu(batch_norm_inference), fused", false, relu_activation,
                   of_one)),
    RegisterOp(
        row("batch_norm_inference_add", "batch_norm_inference + added, fused", false, no_activation, beside)),
    RegisterOp(row("batch_norm_inference_add_relu", "relu(batch_norm_inference + added), fused", false,
                   relu_activation, beside))};

}  // namespace
}  // namespace hashgrad
