// Batch normalisation (Ioffe and Szegedy, ICML 2015).
#pragma once

#include "autograd/node.h"
#include "autograd/ops/linear.h"
#include "cpu/batch_norm.h"

namespace hashgrad {

struct BatchNormOptions {
  bool training;
  double momentum = 0.1;  // weight of the new batch in the running statistics
  double eps = 1e-5;
  Activation activation = Activation::none;
};

/// Error unless these parameters of x's channels (each may be undefined) and settings fit x, and what is to
/// be added has its shape and type.
void check_batch_norm(const Tensor& x, std::initializer_list<const Tensor*> per_channel,
                      const BatchNormOptions& options);
void check_added(const Tensor& x, const Tensor& added);

struct BatchNorm {
  static constexpr const char* name = "batch_norm";
  Tensor running_mean, running_var;  // [C], shared with the caller
  Tensor batches;                    // [] int64, the same
  BatchNormOptions options;
  cpu::BatchNormShape shape = {};
  Tensor x = {}, gamma = {}, mean = {}, variance = {};  // saved
  // Saved with ReLU: what it lets through is known from x, or from its output, or from the mask of that.
  Tensor beta = {}, output = {}, mask = {};
  /// Saves what tells of the ReLU in front of y where x does not; masked: y is not known to be saved anyway.
  void save_output(const Tensor& y, bool masked);
  Tensor forward(Needs needs, const Tensor& in, const Tensor& gamma_in, const Tensor& beta_in,
                 const Tensor& added);
  Gradients<4> backward(Needs needs, Tensor dy, int64_t copies) const;
};

/// y = gamma * (x - mean) / sqrt(var + eps) + beta for each channel of x, [N,C,H,W] or [N,C]; gamma and beta
/// [C] or undefined (1 and 0).
/// Training: mean and (biased) variance of this batch, which also move the running ones:
///   running = (1 - momentum) * running + momentum * batch, the batch's variance unbiased, as in PyTorch;
///   `batches` (int64 [], on x's device, or undefined) counts them.
/// Inference: the running ones, as constants, so that a row does not depend on its batch.
/// `added`, of x's shape or undefined, is added to y, and the activation follows: fused into the passes of
/// batch norm, with the same bits as one op after the other, forward and backward.
template <TensorLike X>
X batch_norm(const X& x, const X& gamma, const X& beta, Tensor& running_mean, Tensor& running_var,
             const BatchNormOptions& options, const Tensor& batches = {}, const X& added = {}) {
  return apply(BatchNorm{running_mean, running_var, batches, options}, x, gamma, beta, added);
}

}  // namespace hashgrad
