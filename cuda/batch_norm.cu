// Two kinds of kernels: sums over a channel (cuda/channel_sums.h: a read of x, and of dy, each), and passes
// over all elements, which take four neighbours per thread where planes allow it. Both are bound by device
// memory: training reads x three times and writes y once, its backward reads x and dy twice and writes dx.
#include "cuda/batch_norm.h"
#include "cuda/channel_sums.h"
#include "cuda/divisor.h"
#include "cuda/tile.h"

namespace hashgrad::HASHGRAD_GPU {
namespace {

template <class T>
__device__ T inverse_deviation(T variance, T eps) {
  return 1 / sqrt(variance + eps);
}

template <class T>
struct SumTerm {
  const T* x;
  int64_t channels, pixels;
  __device__ void operator()(int64_t image, int64_t channel, int64_t pixel, double (&sums)[1]) const {
    sums[0] += static_cast<double>(x[(image * channels + channel) * pixels + pixel]);
  }
};
template <class T>
struct SpreadTerm {
  const T *x, *mean;
  int64_t channels, pixels;
  __device__ void operator()(int64_t image, int64_t channel, int64_t pixel, double (&sums)[1]) const {
    const double d = static_cast<double>(x[(image * channels + channel) * pixels + pixel]) -
                     static_cast<double>(mean[channel]);
    sums[0] += d * d;
  }
};
template <class T>
struct StoreMean {
  double count;
  T* to;
  __device__ void operator()(int64_t channel, const double (&sums)[1]) const {
    to[channel] = static_cast<T>(sums[0] / count);
  }
};

/// dbeta = sum of dy; dgamma = sum of dy * (x - mean), which is divided by the deviation at the end.
template <class T>
struct GradientTerm {
  const T *x, *dy, *mean;
  int64_t channels, pixels;
  __device__ void operator()(int64_t image, int64_t channel, int64_t pixel, double (&sums)[2]) const {
    const int64_t at = (image * channels + channel) * pixels + pixel;
    const double g = static_cast<double>(dy[at]);
    sums[0] += g;
    sums[1] += g * (static_cast<double>(x[at]) - static_cast<double>(mean[channel]));
  }
};
template <class T>
struct StoreGradients {
  const T* variance;
  T eps;
  T *dgamma, *dbeta;
  __device__ void operator()(int64_t channel, const double (&sums)[2]) const {
    dbeta[channel] = static_cast<T>(sums[0]);
    dgamma[channel] =
        static_cast<T>(sums[1] * static_cast<double>(inverse_deviation(variance[channel], eps)));
  }
};

/// What a pass makes of one element: y = (x - center) * slope + shift.
template <class T>
struct Normalise {
  const T *mean, *variance, *gamma, *beta;
  T eps;
  struct Channel {
    T center, slope, shift;
  };
  __device__ Channel channel(int64_t c) const {
    return {mean[c], (gamma ? gamma[c] : T{1}) * inverse_deviation(variance[c], eps), beta ? beta[c] : T{0}};
  }
  __device__ T operator()(const Channel& c, T x, T) const { return (x - c.center) * c.slope + c.shift; }
};
/// dx in training: slope * (dy - mean_dy - (x - center) * along).
template <class T>
struct TrainingGradient {
  const T *mean, *variance, *gamma, *gamma_sums, *beta_sums;
  T eps, share;
  struct Channel {
    T center, slope, mean_dy, along;
  };
  __device__ Channel channel(int64_t c) const {
    const T inverse = inverse_deviation(variance[c], eps);
    return {mean[c], (gamma ? gamma[c] : T{1}) * inverse, beta_sums[c] * share,
            gamma_sums[c] * share * inverse};
  }
  __device__ T operator()(const Channel& c, T x, T dy) const {
    return c.slope * (dy - c.mean_dy - (x - c.center) * c.along);
  }
};
/// dx in inference: slope * dy.
template <class T>
struct InferenceGradient {
  const T *variance, *gamma;
  T eps;
  struct Channel {
    T slope;
  };
  __device__ Channel channel(int64_t c) const {
    return {(gamma ? gamma[c] : T{1}) * inverse_deviation(variance[c], eps)};
  }
  __device__ T operator()(const Channel& c, T, T dy) const { return c.slope * dy; }
};

/// A thread per pack of `count` neighbours in a plane of [batch, channels, pixels]: to = pass(x, dy), either
/// of which may be null.
template <int count, class T, class Pass>
__global__ void pass_kernel(int64_t packs, LongDivisor packs_in_plane, LongDivisor channels, Pass pass,
                            const T* x, const T* dy, T* to) {
  using Elements = Pack<T, count>;
  for (int64_t i = grid_rank(); i < packs; i += grid_threads()) {
    const int64_t plane = packs_in_plane.quotient(i), c = channels.remainder(plane, channels.quotient(plane));
    const auto channel = pass.channel(c);
    const Elements in = x ? reinterpret_cast<const Elements*>(x)[i] : Elements{};
    const Elements gradient = dy ? reinterpret_cast<const Elements*>(dy)[i] : Elements{};
    Elements out;
    GPU_UNROLL
    for (int v = 0; v < count; ++v) out.at[v] = pass(channel, in.at[v], gradient.at[v]);
    reinterpret_cast<Elements*>(to)[i] = out;
  }
}

template <class T, class Pass>
void run_pass(const cpu::BatchNormShape& s, const Pass& pass, const T* x, const T* dy, T* to) {
  const int64_t elements = s.batch * s.channels * s.pixels;
  if (elements == 0) return;
  const auto aligned = [](const T* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; };
  const bool by_four = s.pixels % 4 == 0 && aligned(x) && aligned(dy) && aligned(to);
  const int64_t packs = by_four ? elements / 4 : elements;
  const int64_t blocks = std::min<int64_t>(blocks_for(packs, 256), 1 << 16);
  launch(by_four ? pass_kernel<4, T, Pass> : pass_kernel<1, T, Pass>, blocks, 256, 0, packs,
         LongDivisor(by_four ? s.pixels / 4 : s.pixels), LongDivisor(s.channels), pass, x, dy, to);
}

template <class T>
void parameter_gradients(const cpu::BatchNormShape& s, const T* x, const T* dy, const T* mean,
                         const T* variance, T eps, T* dgamma, T* dbeta) {
  if (s.channels == 0) return;
  channel_sums<2>(ChannelSums(s.batch, s.channels, s.pixels),
                  GradientTerm<T>{x, dy, mean, s.channels, s.pixels},
                  StoreGradients<T>{variance, eps, dgamma, dbeta});
}

/// A thread per channel.
template <class T>
__global__ void move_running_kernel(int64_t channels, double momentum, double unbiased, const T* mean,
                                    const T* variance, T* running_mean, T* running_variance,
                                    int64_t* batches) {
  const int64_t c = grid_rank();
  if (c == 0 && batches) ++*batches;
  if (c >= channels) return;
  const auto moved = [momentum](T running, double correction, T batch) {
    return static_cast<T>((1 - momentum) * static_cast<double>(running) +
                          momentum * correction * static_cast<double>(batch));
  };
  running_mean[c] = moved(running_mean[c], 1, mean[c]);
  running_variance[c] = moved(running_variance[c], unbiased, variance[c]);
}

/// Where a result goes: where the caller wants it, or, when the caller does not, to scratch memory.
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
void batch_norm_statistics(const cpu::BatchNormShape& s, const T* x, T* mean, T* variance) {
  const int64_t count = s.batch * s.pixels;
  check(count >= 1, "batch_norm: statistics of {} images with {} pixels", s.batch, s.pixels);
  if (s.channels == 0) return;
  const ChannelSums sums(s.batch, s.channels, s.pixels);
  const double terms = static_cast<double>(count);
  channel_sums<1>(sums, SumTerm<T>{x, s.channels, s.pixels}, StoreMean<T>{terms, mean});
  channel_sums<1>(sums, SpreadTerm<T>{x, mean, s.channels, s.pixels}, StoreMean<T>{terms, variance});
}

template <class T>
void batch_norm_move_running(const cpu::BatchNormShape& s, double momentum, const T* mean, const T* variance,
                             T* running_mean, T* running_variance, int64_t* batches) {
  launch(move_running_kernel<T>, blocks_for(s.channels, 128), 128, 0, s.channels, momentum,
         cpu::unbiased_variance(s), mean, variance, running_mean, running_variance, batches);
}

template <class T>
void batch_norm_forward(const cpu::BatchNormShape& s, const T* x, const T* mean, const T* variance, T eps,
                        const T* gamma, const T* beta, T* y) {
  run_pass<T>(s, Normalise<T>{mean, variance, gamma, beta, eps}, x, nullptr, y);
}

template <class T>
void batch_norm_backward(const cpu::BatchNormShape& s, const T* x, const T* dy, const T* mean,
                         const T* variance, T eps, const T* gamma, T* dx, T* dgamma, T* dbeta) {
  const OrScratch<T> gamma_sums(dgamma, s.channels), beta_sums(dbeta, s.channels);
  parameter_gradients(s, x, dy, mean, variance, eps, gamma_sums.data(), beta_sums.data());
  if (!dx) return;
  const T share = 1 / static_cast<T>(s.batch * s.pixels);
  run_pass(s, TrainingGradient<T>{mean, variance, gamma, gamma_sums.data(), beta_sums.data(), eps, share}, x,
           dy, dx);
}

template <class T>
void batch_norm_inference_backward(const cpu::BatchNormShape& s, const T* x, const T* dy, const T* mean,
                                   const T* variance, T eps, const T* gamma, T* dx, T* dgamma, T* dbeta) {
  if (dgamma || dbeta) {
    const OrScratch<T> gamma_sums(dgamma, s.channels), beta_sums(dbeta, s.channels);
    parameter_gradients(s, x, dy, mean, variance, eps, gamma_sums.data(), beta_sums.data());
  }
  if (dx) run_pass<T>(s, InferenceGradient<T>{variance, gamma, eps}, nullptr, dy, dx);
}

#define INSTANTIATE(T)                                                                                     \
  template void batch_norm_statistics(const cpu::BatchNormShape&, const T*, T*, T*);                       \
  template void batch_norm_move_running(const cpu::BatchNormShape&, double, const T*, const T*, T*, T*,    \
                                        int64_t*);                                                         \
  template void batch_norm_forward(const cpu::BatchNormShape&, const T*, const T*, const T*, T, const T*,  \
                                   const T*, T*);                                                          \
  template void batch_norm_backward(const cpu::BatchNormShape&, const T*, const T*, const T*, const T*, T, \
                                    const T*, T*, T*, T*);                                                 \
  template void batch_norm_inference_backward(const cpu::BatchNormShape&, const T*, const T*, const T*,    \
                                              const T*, T, const T*, T*, T*, T*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace hashgrad::HASHGRAD_GPU
