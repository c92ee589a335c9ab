// Batch normalisation (Ioffe and Szegedy 2015) over x [batch, channels, pixels]; a fully connected layer has
// pixels = 1.
#pragma once

#include <cmath>
#include <cstdint>

namespace hashgrad::cpu {

struct BatchNormShape {
  int64_t batch, channels, pixels;
};

/// mean [channels] and biased variance [channels] of x: in double, plane by plane, then over the planes in
/// the order of the batch. Error when batch * pixels = 0.
template <class T>
void batch_norm_statistics(const BatchNormShape& shape, const T* x, T* mean, T* variance);

/// What the biased variance of a batch is multiplied by to be unbiased; needs batch * pixels >= 2.
inline double unbiased_variance(const BatchNormShape& shape) {
  const auto count = static_cast<double>(shape.batch * shape.pixels);
  return count / (count - 1);
}

/// Moves the running statistics [channels] towards those of a batch, the variance unbiased, as PyTorch does:
/// running = (1 - momentum) * running + momentum * batch. *batches, unless null, counts one more.
template <class T>
void batch_norm_move_running(const BatchNormShape& shape, double momentum, const T* mean, const T* variance,
                             T* running_mean, T* running_variance, int64_t* batches);

/// gamma / sqrt(variance + eps): what a distance from the mean is multiplied by.
template <class T>
T batch_norm_slope(T gamma, T variance, T eps) {
  return gamma * (1 / std::sqrt(variance + eps));
}

/// y = gamma * (x - mean) / sqrt(variance + eps) + beta + added, and with `relu` the maximum of that and 0,
/// the same bits as one step after the other: training with the batch's statistics, inference with the
/// running ones. gamma and beta [channels], `added` like x; each may be null (1, 0 and 0). y may be x or
/// `added`.
template <class T>
void batch_norm_forward(const BatchNormShape& shape, const T* x, const T* mean, const T* variance, T eps,
                        const T* gamma, const T* beta, const T* added, bool relu, T* y);

/// The gradient of a result y, and what the backward pass needs to know of the ReLU that made it.
template <class T>
struct BatchNormGradient {
  const T* dy;  // [batch, channels, pixels]
  bool relu = false;
  const T* output = nullptr;      // y; null if nothing was added in front of the ReLU: x then tells as much
  const T* beta = nullptr;        // [channels], null for 0; with relu, and without output
  T* passed = nullptr;            // if not null, dy where the ReLU lets it through, else 0, is written here:
                                  // the gradient of what was added. With relu only. May be dy
  const uint8_t* mask = nullptr;  // in place of output: its cpu/relu_mask.h, NaN passes; on the CPU only
};

/// Backward of training: mean and variance are those of x itself. dx [batch, channels, pixels], dgamma and
/// dbeta [channels]; each may be null. dx may be dy unless that is where gradient.passed is.
template <class T>
void batch_norm_backward(const BatchNormShape& shape, const T* x, const BatchNormGradient<T>& gradient,
                         const T* mean, const T* variance, T eps, const T* gamma, T* dx, T* dgamma, T* dbeta);

/// Backward of inference: mean and variance are constants. Same outputs. x may be null where neither dgamma
/// nor dbeta is wanted and gradient.output or .mask tells of the ReLU. Only there `copies` may be more than
/// one: of dy, dx and gradient.passed, one behind the other.
template <class T>
void batch_norm_inference_backward(const BatchNormShape& shape, const T* x,
                                   const BatchNormGradient<T>& gradient, const T* mean, const T* variance,
                                   T eps, const T* gamma, T* dx, T* dgamma, T* dbeta, int64_t copies = 1);

}  // namespace hashgrad::cpu
