#include "cpu/optim.h"

#include <cmath>

#include "core/error.h"
#include "cpu/for_rows.h"

namespace hashgrad::cpu {
namespace {

constexpr int64_t grain = 64 * 1024;  // elements per task

// The updates of one parameter, whose rate has everything in it.

template <class T>
void sgd_step(const Sgd& options, double rate, const Update<T>& u) {
  const T lr = static_cast<T>(rate), momentum = static_cast<T>(options.momentum);
  const T decay = static_cast<T>(u.decay);
  const T* const gradient = u.gradient;
  T *const velocity = u.first, *const weight = u.weight;
  if (!velocity) {
    for_rows(u.n, 1, grain, [=](int64_t i) { weight[i] -= lr * (gradient[i] + decay * weight[i]); });
    return;
  }
  const T from_gradient = options.nesterov ? T{1} : T{0}, from_velocity = options.nesterov ? momentum : T{1};
  for_rows(u.n, 1, grain, [=](int64_t i) {
    const T g = gradient[i] + decay * weight[i];
    const T v = momentum * velocity[i] + g;
    velocity[i] = v;
    weight[i] -= lr * (from_gradient * g + from_velocity * v);
  });
}

template <class T>
void adam_step(const Adam& options, double corrected_rate, T root2, const Update<T>& u) {
  const T beta1 = static_cast<T>(options.beta1), beta2 = static_cast<T>(options.beta2);
  const T rest1 = static_cast<T>(1 - options.beta1), rest2 = static_cast<T>(1 - options.beta2);
  const T rate = static_cast<T>(corrected_rate);
  const T eps = static_cast<T>(options.eps), decay = static_cast<T>(u.decay);
  const T* const gradient = u.gradient;
  T *const m = u.first, *const v = u.second, *const weight = u.weight;
  for_rows(u.n, 1, grain, [=](int64_t i) {
    const T g = gradient[i] + decay * weight[i];
    m[i] = beta1 * m[i] + rest1 * g;
    v[i] = beta2 * v[i] + rest2 * g * g;
    weight[i] -= rate * m[i] / (std::sqrt(v[i]) / root2 + eps);
  });
}

template <class T>
void rmsprop_step(const RmsProp& options, double rate, const Update<T>& u) {
  const T lr = static_cast<T>(rate), alpha = static_cast<T>(options.alpha), eps = static_cast<T>(options.eps);
  const T rest = static_cast<T>(1 - options.alpha), momentum = static_cast<T>(options.momentum);
  const T decay = static_cast<T>(u.decay);
  const T* const gradient = u.gradient;
  T *const square_average = u.first, *const momentum_buffer = u.second, *const weight = u.weight;
  for_rows(u.n, 1, grain, [=](int64_t i) {
    const T g = gradient[i] + decay * weight[i];
    square_average[i] = alpha * square_average[i] + rest * g * g;
    T direction = g / (std::sqrt(square_average[i]) + eps);
    if (momentum_buffer) direction = momentum_buffer[i] = momentum * momentum_buffer[i] + direction;
    weight[i] -= lr * direction;
  });
}

}  // namespace

template <class T>
void sgd_step(const Sgd& options, const Pace* pace, const std::vector<Update<T>>& updates) {
  for (const Update<T>& u : updates) {
    check(u.first || options.momentum == 0, "sgd_step: momentum {} needs a velocity buffer",
          options.momentum);
    sgd_step(options, pace->lr * u.rate, u);
  }
}

Pace adam_pace(const Adam& options, double lr, int64_t step) {
  check(step >= 1, "adam_step: step {} (expected 1 for the first update)", step);
  return {lr, 1 - std::pow(options.beta1, static_cast<double>(step)),
          1 - std::pow(options.beta2, static_cast<double>(step))};
}

template <class T>
void adam_step(const Adam& options, const Pace* pace, const std::vector<Update<T>>& updates) {
  const T root2 = static_cast<T>(std::sqrt(pace->correction2));
  for (const Update<T>& u : updates) adam_step(options, pace->lr * u.rate / pace->correction1, root2, u);
}

template <class T>
void rmsprop_step(const RmsProp& options, const Pace* pace, const std::vector<Update<T>>& updates) {
  for (const Update<T>& u : updates) {
    check(u.second || options.momentum == 0, "rmsprop_step: momentum {} needs a buffer", options.momentum);
    rmsprop_step(options, pace->lr * u.rate, u);
  }
}

#define INSTANTIATE(T)                                                              \
  template void sgd_step(const Sgd&, const Pace*, const std::vector<Update<T>>&);   \
  template void adam_step(const Adam&, const Pace*, const std::vector<Update<T>>&); \
  template void rmsprop_step(const RmsProp&, const Pace*, const std::vector<Update<T>>&);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace hashgrad::cpu
