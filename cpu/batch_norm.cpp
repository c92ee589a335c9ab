#include "cpu/batch_norm.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/parallel.h"
#include "cpu/reduce.h"
#include "cpu/scratch.h"

namespace hashgrad::cpu {
namespace {

/// body(channel, offset, count) for the pixels of each image's channel, planes in parallel.
template <class Body>
void for_planes(const BatchNormShape& s, const Body& body) {
  const int64_t grain = std::max<int64_t>(1, 64 * 1024 / std::max<int64_t>(1, s.pixels));
  parallel_ranges(s.batch * s.channels, grain, [&](int64_t begin, int64_t end) {
    for (int64_t plane = begin; plane < end; ++plane) body(plane % s.channels, plane * s.pixels, s.pixels);
  });
}

template <class T>
T inverse_deviation(T variance, T eps) {
  return 1 / std::sqrt(variance + eps);
}

/// dbeta = sum of dy; dgamma = sum of dy * (x - mean) / deviation.
template <class T>
void parameter_gradients(const BatchNormShape& s, const T* x, const T* dy, const T* mean, const T* variance,
                         T eps, T* dgamma, T* dbeta) {
  sum_channels(s.batch, s.channels, s.pixels, dy, dbeta);
  const Scratch<T> products(s.batch * s.channels);
  for_planes(s, [&](int64_t c, int64_t at, int64_t count) {
    double total = 0;
    for (int64_t i = at; i < at + count; ++i)
      total += static_cast<double>(dy[i]) * (static_cast<double>(x[i]) - static_cast<double>(mean[c]));
    products.data()[at / count] =
        static_cast<T>(total * static_cast<double>(inverse_deviation(variance[c], eps)));
  });
  sum_columns(s.batch, s.channels, products.data(), dgamma);
}

/// Room for a result the caller does not want but the computation needs.
template <class T>
class OrScratch {
 public:
  OrScratch(T* wanted, int64_t count)
      : scratch_(wanted ? 0 : count), data_(wanted ? wanted : scratch_.data()) {}
  T* data() const { return data_; }

 private:
  Scratch<T> scratch_;
  T* data_;
};

}  // namespace

template <class T>
void batch_norm_statistics(const BatchNormShape& s, const T* x, T* mean, T* variance) {
  const int64_t count = s.batch * s.pixels;
  check(count >= 1, "batch_norm: statistics of {} images with {} pixels", s.batch, s.pixels);
  const Scratch<T> spread(s.batch * s.channels);
  sum_channels(s.batch, s.channels, s.pixels, x, mean);
  for (int64_t c = 0; c < s.channels; ++c) mean[c] /= static_cast<T>(count);
  for_planes(s, [&](int64_t c, int64_t at, int64_t pixels) {
    double total = 0;
    for (int64_t i = at; i < at + pixels; ++i) {
      const double d = static_cast<double>(x[i]) - static_cast<double>(mean[c]);
      total += d * d;
    }
    spread.data()[at / pixels] = static_cast<T>(total);
  });
  sum_columns(s.batch, s.channels, spread.data(), variance);
  for (int64_t c = 0; c < s.channels; ++c) variance[c] /= static_cast<T>(count);
}

template <class T>
void batch_norm_move_running(const BatchNormShape& s, double momentum, const T* mean, const T* variance,
                             T* running_mean, T* running_variance, int64_t* batches) {
  const auto move = [&](const T* batch, double correction, T* running) {
    for (int64_t c = 0; c < s.channels; ++c)
      running[c] = static_cast<T>((1 - momentum) * static_cast<double>(running[c]) +
                                  momentum * correction * static_cast<double>(batch[c]));
  };
  move(mean, 1, running_mean);
  move(variance, unbiased_variance(s), running_variance);
  if (batches) ++*batches;
}

template <class T>
void batch_norm_forward(const BatchNormShape& s, const T* x, const T* mean, const T* variance, T eps,
                        const T* gamma, const T* beta, T* y) {
  for_planes(s, [=](int64_t c, int64_t at, int64_t count) {
    const T slope = (gamma ? gamma[c] : T{1}) * inverse_deviation(variance[c], eps);
    const T shift = beta ? beta[c] : T{0}, center = mean[c];
    for (int64_t i = at; i < at + count; ++i) y[i] = (x[i] - center) * slope + shift;
  });
}

template <class T>
void batch_norm_backward(const BatchNormShape& s, const T* x, const T* dy, const T* mean, const T* variance,
                         T eps, const T* gamma, T* dx, T* dgamma, T* dbeta) {
  const OrScratch<T> gamma_sums(dgamma, s.channels), beta_sums(dbeta, s.channels);
  parameter_gradients(s, x, dy, mean, variance, eps, gamma_sums.data(), beta_sums.data());
  if (!dx) return;
  const T share = 1 / static_cast<T>(s.batch * s.pixels);
  for_planes(s, [&](int64_t c, int64_t at, int64_t count) {
    const T inverse = inverse_deviation(variance[c], eps), slope = (gamma ? gamma[c] : T{1}) * inverse;
    const T mean_dy = beta_sums.data()[c] * share, along = gamma_sums.data()[c] * share * inverse,
            center = mean[c];
    for (int64_t i = at; i < at + count; ++i) dx[i] = slope * (dy[i] - mean_dy - (x[i] - center) * along);
  });
}

template <class T>
void batch_norm_inference_backward(const BatchNormShape& s, const T* x, const T* dy, const T* mean,
                                   const T* variance, T eps, const T* gamma, T* dx, T* dgamma, T* dbeta) {
  if (dgamma || dbeta) {
    const OrScratch<T> gamma_sums(dgamma, s.channels), beta_sums(dbeta, s.channels);
    parameter_gradients(s, x, dy, mean, variance, eps, gamma_sums.data(), beta_sums.data());
  }
  if (!dx) return;
  for_planes(s, [=](int64_t c, int64_t at, int64_t count) {
    const T slope = (gamma ? gamma[c] : T{1}) * inverse_deviation(variance[c], eps);
    for (int64_t i = at; i < at + count; ++i) dx[i] = slope * dy[i];
  });
}

#define INSTANTIATE(T)                                                                                       \
  template void batch_norm_statistics(const BatchNormShape&, const T*, T*, T*);                              \
  template void batch_norm_move_running(const BatchNormShape&, double, const T*, const T*, T*, T*,           \
                                        int64_t*);                                                           \
  template void batch_norm_forward(const BatchNormShape&, const T*, const T*, const T*, T, const T*,         \
                                   const T*, T*);                                                            \
  template void batch_norm_backward(const BatchNormShape&, const T*, const T*, const T*, const T*, T,        \
                                    const T*, T*, T*, T*);                                                   \
  template void batch_norm_inference_backward(const BatchNormShape&, const T*, const T*, const T*, const T*, \
                                              T, const T*, T*, T*, T*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace hashgrad::cpu
