#include "cpu/batch_norm.h"

#include <algorithm>

#include "core/error.h"
#include "core/parallel.h"
#include "cpu/channel_kernels.h"
#include "cpu/reduce.h"
#include "cpu/scratch.h"

namespace hashgrad::cpu {
namespace {

/// body(plane, channel, room) for the plane of pixels of each image's channel, in parallel; `room` is for as
/// many elements as asked for.
template <class T, class Body>
void for_planes_with_room(const BatchNormShape& s, int64_t elements, const Body& body) {
  const int64_t grain = std::max<int64_t>(1, 64 * 1024 / std::max<int64_t>(1, s.pixels));
  parallel_ranges(s.batch * s.channels, grain, [&](int64_t begin, int64_t end) {
    const Scratch<T> room(elements);
    for (int64_t plane = begin; plane < end; ++plane) body(plane, plane % s.channels, room.data());
  });
}

/// The same without room.
template <class Body>
void for_planes(const BatchNormShape& s, const Body& body) {
  for_planes_with_room<float>(s, 0, [&](int64_t plane, int64_t channel, float*) { body(plane, channel); });
}

/// What a backward pass is given.
template <class T>
struct Given {
  BatchNormShape shape;
  const T* x;
  BatchNormGradient<T> gradient;
  const T *mean, *variance, *gamma;
  T eps;

  T inverse(int64_t c) const { return batch_norm_slope(T{1}, variance[c], eps); }
  T slope(int64_t c) const { return batch_norm_slope(gamma ? gamma[c] : T{1}, variance[c], eps); }

  /// The gradient in front of the ReLU, of one plane of dy: dy itself, or what passes of it, put at `to`
  /// [pixels]. All copies of dy share x and the output.
  const T* in_front_of_relu(int64_t plane, T* to) const {
    const BatchNormGradient<T>& g = gradient;
    const T* dy = g.dy + plane * shape.pixels;
    if (!g.relu) return dy;
    const int64_t c = plane % shape.channels, at = plane % (shape.batch * shape.channels) * shape.pixels;
    const auto& gate = channel_kernels().of<T>().gate;
    if (g.mask)
      channel_kernels().of<T>().pass(shape.pixels, g.mask, at, dy, to);
    else if (g.output)
      gate(shape.pixels, g.output + at, dy, T{0}, T{1}, T{0}, to);
    else
      gate(shape.pixels, x + at, dy, mean[c], slope(c), g.beta ? g.beta[c] : T{0}, to);
    return to;
  }
};

/// dbeta = sum of g; dgamma = sum of g * (x - mean) / deviation, with g the gradient in front of the ReLU,
/// which is also left where it is wanted: what comes next finds it there.
template <class T>
void parameter_gradients(Given<T>& given, T* dgamma, T* dbeta) {
  const BatchNormShape& s = given.shape;
  T* passed = given.gradient.passed;
  const int64_t elements = given.gradient.relu && !passed ? s.pixels : 0;
  const ChannelKernels<T>& kernel = channel_kernels().of<T>();
  const Scratch<double> sums(s.batch * s.channels), products(s.batch * s.channels), totals(2 * s.channels);
  for_planes_with_room<T>(s, elements, [&](int64_t plane, int64_t c, T* room) {
    const T* g = given.in_front_of_relu(plane, passed ? passed + plane * s.pixels : room);
    kernel.products(s.pixels, given.x + plane * s.pixels, g, given.mean[c], sums.data() + plane,
                    products.data() + plane);
  });
  sum_columns(s.batch, s.channels, sums.data(), totals.data());
  sum_columns(s.batch, s.channels, products.data(), totals.data() + s.channels);
  for (int64_t c = 0; c < s.channels; ++c) {
    dbeta[c] = static_cast<T>(totals.data()[c]);
    dgamma[c] = static_cast<T>(totals.data()[s.channels + c] * static_cast<double>(given.inverse(c)));
  }
  if (passed) given.gradient = {.dy = passed};
}

/// The moments of channels from those of their planes [batch, channels], all of as many pixels: the squared
/// distances inside the planes and those of the planes' means, in the order of the batch.
template <class T>
void combine_moments(const BatchNormShape& s, const double* means, const double* spreads, T* mean,
                     T* variance) {
  const Scratch<double> centers(s.channels);
  sum_columns(s.batch, s.channels, means, centers.data());
  parallel_ranges(s.channels, 64, [&](int64_t begin, int64_t end) {
    double total[64] = {};
    for (int64_t c = begin; c < end; ++c) centers.data()[c] /= static_cast<double>(s.batch);
    for (int64_t n = 0; n < s.batch; ++n)
      for (int64_t c = begin; c < end; ++c) {
        const double d = means[n * s.channels + c] - centers.data()[c];
        total[c - begin] += spreads[n * s.channels + c] + static_cast<double>(s.pixels) * d * d;
      }
    for (int64_t c = begin; c < end; ++c) {
      mean[c] = static_cast<T>(centers.data()[c]);
      variance[c] = static_cast<T>(total[c - begin] / static_cast<double>(s.batch * s.pixels));
    }
  });
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
  const Scratch<double> means(s.batch * s.channels), spreads(s.batch * s.channels);
  const ChannelKernels<T>& kernel = channel_kernels().of<T>();
  for_planes(s, [&](int64_t plane, int64_t) {
    kernel.moments(s.pixels, x + plane * s.pixels, means.data() + plane, spreads.data() + plane);
  });
  combine_moments(s, means.data(), spreads.data(), mean, variance);
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
                        const T* gamma, const T* beta, const T* added, bool relu, T* y) {
  const ChannelKernels<T>& kernel = channel_kernels().of<T>();
  for_planes(s, [&](int64_t plane, int64_t c) {
    const int64_t at = plane * s.pixels;
    const T slope = batch_norm_slope(gamma ? gamma[c] : T{1}, variance[c], eps);
    kernel.normalise(s.pixels, x + at, mean[c], slope, beta ? beta[c] : T{0}, added ? added + at : nullptr,
                     relu, y + at);
  });
}

template <class T>
void batch_norm_backward(const BatchNormShape& s, const T* x, const BatchNormGradient<T>& gradient,
                         const T* mean, const T* variance, T eps, const T* gamma, T* dx, T* dgamma,
                         T* dbeta) {
  Given<T> given{s, x, gradient, mean, variance, gamma, eps};
  const OrScratch<T> gamma_sums(dgamma, s.channels), beta_sums(dbeta, s.channels);
  parameter_gradients(given, gamma_sums.data(), beta_sums.data());
  if (!dx) return;
  const T share = 1 / static_cast<T>(s.batch * s.pixels);
  const ChannelKernels<T>& kernel = channel_kernels().of<T>();
  for_planes(s, [&](int64_t plane, int64_t c) {
    const int64_t at = plane * s.pixels;
    const T* g = given.in_front_of_relu(plane, dx + at);
    kernel.gradient(s.pixels, x + at, g, mean[c], given.slope(c), beta_sums.data()[c] * share,
                    gamma_sums.data()[c] * share * given.inverse(c), dx + at);
  });
}

template <class T>
void batch_norm_inference_backward(const BatchNormShape& s, const T* x, const BatchNormGradient<T>& gradient,
                                   const T* mean, const T* variance, T eps, const T* gamma, T* dx, T* dgamma,
                                   T* dbeta, int64_t copies) {
  Given<T> given{s, x, gradient, mean, variance, gamma, eps};
  if (dgamma || dbeta) {
    const OrScratch<T> gamma_sums(dgamma, s.channels), beta_sums(dbeta, s.channels);
    parameter_gradients(given, gamma_sums.data(), beta_sums.data());
  }
  T* passed = given.gradient.passed;
  if (!dx && !passed) return;
  const ChannelKernels<T>& kernel = channel_kernels().of<T>();
  for_planes({copies * s.batch, s.channels, s.pixels}, [&](int64_t plane, int64_t c) {
    const int64_t at = plane * s.pixels;
    const T* g = given.in_front_of_relu(plane, (passed ? passed : dx) + at);
    if (dx) kernel.scale(s.pixels, g, given.slope(c), dx + at);
  });
}

#define INSTANTIATE(T)                                                                                      \
  template void batch_norm_statistics(const BatchNormShape&, const T*, T*, T*);                             \
  template void batch_norm_move_running(const BatchNormShape&, double, const T*, const T*, T*, T*,          \
                                        int64_t*);                                                          \
  template void batch_norm_forward(const BatchNormShape&, const T*, const T*, const T*, T, const T*,        \
                                   const T*, const T*, bool, T*);                                           \
  template void batch_norm_backward(const BatchNormShape&, const T*, const BatchNormGradient<T>&, const T*, \
                                    const T*, T, const T*, T*, T*, T*);                                     \
  template void batch_norm_inference_backward(const BatchNormShape&, const T*, const BatchNormGradient<T>&, \
                                              const T*, const T*, T, const T*, T*, T*, T*, int64_t);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace hashgrad::cpu
