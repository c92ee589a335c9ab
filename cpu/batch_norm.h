// Batch normalisation (Ioffe and Szegedy 2015) over x [batch, channels, pixels]; a fully connected layer has
// pixels = 1.
#pragma once

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

/// y = gamma * (x - mean) / sqrt(variance + eps) + beta: training with the batch's statistics, inference with
/// the running ones. gamma and beta [channels], either may be null (1 and 0). y may be x.
template <class T>
void batch_norm_forward(const BatchNormShape& shape, const T* x, const T* mean, const T* variance, T eps,
                        const T* gamma, const T* beta, T* y);

/// Backward of training: mean and variance are those of x itself. dx [batch, channels, pixels], dgamma and
/// dbeta [channels]; each may be null.
template <class T>
void batch_norm_backward(const BatchNormShape& shape, const T* x, const T* dy, const T* mean,
                         const T* variance, T eps, const T* gamma, T* dx, T* dgamma, T* dbeta);

/// Backward of inference: mean and variance are constants. Same outputs.
template <class T>
void batch_norm_inference_backward(const BatchNormShape& shape, const T* x, const T* dy, const T* mean,
                                   const T* variance, T eps, const T* gamma, T* dx, T* dgamma, T* dbeta);

}  // namespace hashgrad::cpu
