#include "cpu/optim.h"

#include <cmath>

#include "core/error.h"
#include "core/parallel.h"

namespace hashgrad::cpu {
namespace {

constexpr int64_t grain = 64 * 1024;

template <class Body>
void for_each(int64_t n, const Body& body) {
  parallel_ranges(n, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(i);
  });
}

}  // namespace

template <class T>
void sgd_step(const Sgd& options, int64_t n, const T* gradient, T* velocity, T* weight) {
  const T lr = static_cast<T>(options.lr), momentum = static_cast<T>(options.momentum);
  const T decay = static_cast<T>(options.weight_decay);
  check(velocity || options.momentum == 0, "sgd_step: momentum {} needs a velocity buffer", options.momentum);
  if (!velocity) {
    for_each(n, [=](int64_t i) { weight[i] -= lr * (gradient[i] + decay * weight[i]); });
    return;
  }
  const T from_gradient = options.nesterov ? T{1} : T{0}, from_velocity = options.nesterov ? momentum : T{1};
  for_each(n, [=](int64_t i) {
    const T g = gradient[i] + decay * weight[i];
    const T v = momentum * velocity[i] + g;
    velocity[i] = v;
    weight[i] -= lr * (from_gradient * g + from_velocity * v);
  });
}

template <class T>
void adam_step(const Adam& options, int64_t step, int64_t n, const T* gradient, T* m, T* v, T* weight) {
  check(step >= 1, "adam_step: step {} (expected 1 for the first update)", step);
  const double correction1 = 1 - std::pow(options.beta1, static_cast<double>(step));
  const double correction2 = 1 - std::pow(options.beta2, static_cast<double>(step));
  const T beta1 = static_cast<T>(options.beta1), beta2 = static_cast<T>(options.beta2);
  const T rest1 = static_cast<T>(1 - options.beta1), rest2 = static_cast<T>(1 - options.beta2);
  const T rate = static_cast<T>(options.lr / correction1), root2 = static_cast<T>(std::sqrt(correction2));
  const T eps = static_cast<T>(options.eps), decay = static_cast<T>(options.weight_decay);
  for_each(n, [=](int64_t i) {
    const T g = gradient[i] + decay * weight[i];
    m[i] = beta1 * m[i] + rest1 * g;
    v[i] = beta2 * v[i] + rest2 * g * g;
    weight[i] -= rate * m[i] / (std::sqrt(v[i]) / root2 + eps);
  });
}

template <class T>
void rmsprop_step(const RmsProp& options, int64_t n, const T* gradient, T* square_average, T* momentum_buffer,
                  T* weight) {
  check(momentum_buffer || options.momentum == 0, "rmsprop_step: momentum {} needs a buffer",
        options.momentum);
  const T lr = static_cast<T>(options.lr), alpha = static_cast<T>(options.alpha),
          eps = static_cast<T>(options.eps);
  const T rest = static_cast<T>(1 - options.alpha), momentum = static_cast<T>(options.momentum);
  const T decay = static_cast<T>(options.weight_decay);
  for_each(n, [=](int64_t i) {
    const T g = gradient[i] + decay * weight[i];
    square_average[i] = alpha * square_average[i] + rest * g * g;
    T direction = g / (std::sqrt(square_average[i]) + eps);
    if (momentum_buffer) direction = momentum_buffer[i] = momentum * momentum_buffer[i] + direction;
    weight[i] -= lr * direction;
  });
}

namespace {

/// The same options with another learning rate.
template <class Options>
Options with_rate(Options options, double rate) {
  options.lr *= rate;
  return options;
}

}  // namespace

template <class T>
void sgd_step(const Sgd& options, const std::vector<Update<T>>& updates) {
  for (const Update<T>& u : updates) sgd_step(with_rate(options, u.rate), u.n, u.gradient, u.first, u.weight);
}

template <class T>
void adam_step(const Adam& options, int64_t step, const std::vector<Update<T>>& updates) {
  for (const Update<T>& u : updates)
    adam_step(with_rate(options, u.rate), step, u.n, u.gradient, u.first, u.second, u.weight);
}

template <class T>
void rmsprop_step(const RmsProp& options, const std::vector<Update<T>>& updates) {
  for (const Update<T>& u : updates)
    rmsprop_step(with_rate(options, u.rate), u.n, u.gradient, u.first, u.second, u.weight);
}

#define INSTANTIATE(T)                                                          \
  template void sgd_step(const Sgd&, int64_t, const T*, T*, T*);                \
  template void adam_step(const Adam&, int64_t, int64_t, const T*, T*, T*, T*); \
  template void rmsprop_step(const RmsProp&, int64_t, const T*, T*, T*, T*);    \
  template void sgd_step(const Sgd&, const std::vector<Update<T>>&);            \
  template void adam_step(const Adam&, int64_t, const std::vector<Update<T>>&); \
  template void rmsprop_step(const RmsProp&, const std::vector<Update<T>>&);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace hashgrad::cpu
