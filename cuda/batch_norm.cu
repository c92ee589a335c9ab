// Two kinds of kernels: sums over a channel (cuda/channel_sums.h: a read of x, and of dy, each), and passes
// over all elements, which take four neighbours per thread where planes allow it. Both are bound by device
// memory: training reads x three times and writes y once, its backward reads x and dy twice and writes dx.
// What is added and the ReLU behind it are part of the forward pass. Backward, a gate takes the gradient
// through the ReLU where it is read; with the output as its witness, the first pass also writes what passed,
// which is all that later passes read.
#include "cuda/batch_norm.h"
#include "cuda/channel_sums.h"
#include "cuda/divisor.h"
#include "cuda/elementwise.h"

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

/// The normalisation of an element.
template <class T>
struct Affine {
  const T *mean, *variance, *gamma, *beta;
  T eps;
  struct Channel {
    T center, slope, shift;
    __device__ T operator()(T x) const { return (x - center) * slope + shift; }
  };
  __device__ Channel channel(int64_t c) const {
    return {mean[c], (gamma ? gamma[c] : T{1}) * inverse_deviation(variance[c], eps), beta ? beta[c] : T{0}};
  }
};

// Gates: the gradient dy of the pack number `to` of all copies, in front of the ReLU; x and the output, at
// `from`, are shared by the copies.

/// There is no ReLU.
template <class T>
struct Open {
  struct Channel {};
  __device__ Channel channel(int64_t) const { return {}; }
  template <int count>
  __device__ Pack<T, count> operator()(Channel, int64_t, int64_t, const Pack<T, count>&,
                                       const Pack<T, count>& dy) const {
    return dy;
  }
};
/// The output tells what the ReLU lets through, which is written to `passed` unless that is null.
template <class T>
struct OfOutput {
  const T* output;
  T* passed;
  struct Channel {};
  __device__ Channel channel(int64_t) const { return {}; }
  template <int count>
  __device__ Pack<T, count> operator()(Channel, int64_t from, int64_t to, const Pack<T, count>&,
                                       const Pack<T, count>& dy) const {
    using Elements = Pack<T, count>;
    const Elements y = reinterpret_cast<const Elements*>(output)[from];
    Elements g;
    GPU_UNROLL
    for (int v = 0; v < count; ++v) g.at[v] = y.at[v] <= 0 ? T{0} : dy.at[v];
    if (passed) reinterpret_cast<Elements*>(passed)[to] = g;
    return g;
  }
};
/// x tells: what came out of the normalisation is computed again.
template <class T>
struct OfInput {
  Affine<T> affine;
  using Channel = typename Affine<T>::Channel;
  __device__ Channel channel(int64_t c) const { return affine.channel(c); }
  template <int count>
  __device__ Pack<T, count> operator()(const Channel& y, int64_t, int64_t, const Pack<T, count>& x,
                                       const Pack<T, count>& dy) const {
    Pack<T, count> g;
    GPU_UNROLL
    for (int v = 0; v < count; ++v) g.at[v] = y(x.at[v]) <= 0 ? T{0} : dy.at[v];
    return g;
  }
};

/// body(the gate that `gradient` asks for); `affine` made what the ReLU took.
template <class T, class Body>
void with_gate(const cpu::BatchNormGradient<T>& gradient, const Affine<T>& affine, const Body& body) {
  if (!gradient.relu)
    body(Open<T>{});
  else if (gradient.output)
    body(OfOutput<T>{gradient.output, gradient.passed});
  else
    body(OfInput<T>{affine});
}

/// dbeta = sum of g; dgamma = sum of g * (x - mean), which is divided by the deviation at the end.
template <class T, class Gate>
struct GradientTerm {
  const T *x, *dy, *mean;
  Gate gate;
  int64_t channels, pixels;
  __device__ void operator()(int64_t image, int64_t channel, int64_t pixel, double (&sums)[2]) const {
    const int64_t at = (image * channels + channel) * pixels + pixel;
    const Pack<T, 1> value{{x[at]}},
        passed = gate(gate.channel(channel), at, at, value, Pack<T, 1>{{dy[at]}});
    const double g = static_cast<double>(passed.at[0]);
    sums[0] += g;
    sums[1] += g * (static_cast<double>(value.at[0]) - static_cast<double>(mean[channel]));
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

/// What a pass makes of one element: y = (x - center) * slope + shift, + added, the maximum with 0.
template <class T>
struct Normalise {
  Affine<T> affine;
  bool add, relu;
  using Channel = typename Affine<T>::Channel;
  __device__ Channel channel(int64_t c) const { return affine.channel(c); }
  __device__ T operator()(const Channel& c, T x, T added) const {
    const T y = add ? c(x) + added : c(x);
    return relu && y < 0 ? T{0} : y;
  }
};
/// dx in training: slope * (g - mean_dy - (x - center) * along).
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
  __device__ T operator()(const Channel& c, T x, T g) const {
    return c.slope * (g - c.mean_dy - (x - c.center) * c.along);
  }
};
/// dx in inference: slope * g.
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
  __device__ T operator()(const Channel& c, T, T g) const { return c.slope * g; }
};

/// A thread per pack of `count` neighbours in a plane of [batch, channels, pixels]: to = pass(x, g), with g
/// what the gate makes of dy. x, dy and `to` may be null. dy and `to` hold `copies`, one behind the other:
/// the y axis of the grid runs over them.
template <int count, class T, class Gate, class Pass>
__global__ void pass_kernel(int64_t packs, int64_t copies, LongDivisor packs_in_plane, LongDivisor channels,
                            Gate gate, Pass pass, const T* x, const T* dy, T* to) {
  using Elements = Pack<T, count>;
  for (int64_t k = blockIdx.y; k < copies; k += gridDim.y)
    for (int64_t i = grid_rank(); i < packs; i += grid_threads()) {
      const int64_t plane = packs_in_plane.quotient(i), at = k * packs + i,
                    c = channels.remainder(plane, channels.quotient(plane));
      const Elements in = x ? reinterpret_cast<const Elements*>(x)[i] : Elements{};
      const Elements gradient = dy ? reinterpret_cast<const Elements*>(dy)[at] : Elements{};
      const Elements g = gate(gate.channel(c), i, at, in, gradient);
      if (!to) continue;
      const auto channel = pass.channel(c);
      Elements out;
      GPU_UNROLL
      for (int v = 0; v < count; ++v) out.at[v] = pass(channel, in.at[v], g.at[v]);
      reinterpret_cast<Elements*>(to)[at] = out;
    }
}

template <class T, class Gate, class Pass>
void run_pass(const cpu::BatchNormShape& s, const Gate& gate, const Pass& pass, const T* x, const T* dy,
              T* to, int64_t copies = 1) {
  const int64_t elements = s.batch * s.channels * s.pixels;
  if (elements == 0) return;
  const auto aligned = [](const T* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; };
  bool by_four = s.pixels % 4 == 0 && aligned(x) && aligned(dy) && aligned(to);
  if constexpr (std::is_same_v<Gate, OfOutput<T>>)
    by_four = by_four && aligned(gate.output) && aligned(gate.passed);
  const int64_t packs = by_four ? elements / 4 : elements;
  const dim3 grid(static_cast<unsigned>(grid_for(packs)),
                  static_cast<unsigned>(std::min<int64_t>(copies, 1024)));
  launch(by_four ? pass_kernel<4, T, Gate, Pass> : pass_kernel<1, T, Gate, Pass>, grid, block_size, 0, packs,
         copies, LongDivisor(by_four ? s.pixels / 4 : s.pixels), LongDivisor(s.channels), gate, pass, x, dy,
         to);
}

/// dx = pass(x, g), with g what passes of gradient.dy.
template <class T, class Pass>
void run_gated(const cpu::BatchNormShape& s, const cpu::BatchNormGradient<T>& gradient,
               const Affine<T>& affine, const Pass& pass, const T* x, T* dx, int64_t copies = 1) {
  with_gate(gradient, affine,
            [&](const auto& gate) { run_pass<T>(s, gate, pass, x, gradient.dy, dx, copies); });
}

/// Leaves the gradient in front of the ReLU where it is wanted, too: what comes next finds it there.
template <class T>
void parameter_gradients(const cpu::BatchNormShape& s, const T* x, cpu::BatchNormGradient<T>& gradient,
                         const Affine<T>& affine, T* dgamma, T* dbeta) {
  if (s.channels == 0) return;
  with_gate(gradient, affine, [&](const auto& gate) {
    channel_sums<2>(ChannelSums(s.batch, s.channels, s.pixels),
                    GradientTerm<T, std::decay_t<decltype(gate)>>{x, gradient.dy, affine.mean, gate,
                                                                  s.channels, s.pixels},
                    StoreGradients<T>{affine.variance, affine.eps, dgamma, dbeta});
  });
  if (gradient.passed) gradient = {gradient.passed};
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
                        const T* gamma, const T* beta, const T* added, bool relu, T* y) {
  const Affine<T> affine{mean, variance, gamma, beta, eps};
  run_pass<T>(s, Open<T>{}, Normalise<T>{affine, added != nullptr, relu}, x, added, y);
}

template <class T>
void batch_norm_backward(const cpu::BatchNormShape& s, const T* x, const cpu::BatchNormGradient<T>& given,
                         const T* mean, const T* variance, T eps, const T* gamma, T* dx, T* dgamma,
                         T* dbeta) {
  cpu::BatchNormGradient<T> gradient = given;
  const Affine<T> affine{mean, variance, gamma, gradient.beta, eps};
  const OrScratch<T> gamma_sums(dgamma, s.channels), beta_sums(dbeta, s.channels);
  parameter_gradients(s, x, gradient, affine, gamma_sums.data(), beta_sums.data());
  if (!dx) return;
  const T share = 1 / static_cast<T>(s.batch * s.pixels);
  const TrainingGradient<T> pass{mean, variance, gamma, gamma_sums.data(), beta_sums.data(), eps, share};
  run_gated(s, gradient, affine, pass, x, dx);
}

template <class T>
void batch_norm_inference_backward(const cpu::BatchNormShape& s, const T* x,
                                   const cpu::BatchNormGradient<T>& given, const T* mean, const T* variance,
                                   T eps, const T* gamma, T* dx, T* dgamma, T* dbeta, int64_t copies) {
  cpu::BatchNormGradient<T> gradient = given;
  const Affine<T> affine{mean, variance, gamma, gradient.beta, eps};
  if (dgamma || dbeta) {
    const OrScratch<T> gamma_sums(dgamma, s.channels), beta_sums(dbeta, s.channels);
    parameter_gradients(s, x, gradient, affine, gamma_sums.data(), beta_sums.data());
  }
  if (!dx && !gradient.passed) return;
  const bool of_input = gradient.relu && !gradient.output;
  run_gated(s, gradient, affine, InferenceGradient<T>{variance, gamma, eps}, of_input ? x : nullptr, dx,
            copies);
}

#define INSTANTIATE(T)                                                                                      \
  template void batch_norm_statistics(const cpu::BatchNormShape&, const T*, T*, T*);                        \
  template void batch_norm_move_running(const cpu::BatchNormShape&, double, const T*, const T*, T*, T*,     \
                                        int64_t*);                                                          \
  template void batch_norm_forward(const cpu::BatchNormShape&, const T*, const T*, const T*, T, const T*,   \
                                   const T*, const T*, bool, T*);                                           \
  template void batch_norm_backward(const cpu::BatchNormShape&, const T*, const cpu::BatchNormGradient<T>&, \
                                    const T*, const T*, T, const T*, T*, T*, T*);                           \
  template void batch_norm_inference_backward(const cpu::BatchNormShape&, const T*,                         \
                                              const cpu::BatchNormGradient<T>&, const T*, const T*, T,      \
                                              const T*, T*, T*, T*, int64_t);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace hashgrad::HASHGRAD_GPU
