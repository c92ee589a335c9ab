// Optimiser updates, one pass over the parameters each, with the conventions of PyTorch.
#pragma once

#include <cstdint>
#include <vector>

namespace hashgrad::cpu {

/// One parameter of an update over many. `first` and `second` [n] are the state of the method, in the order
/// in which its function for one parameter takes them; `rate` multiplies the learning rate.
template <class T>
struct Update {
  int64_t n;
  double rate;
  const T* gradient;
  T *first, *second, *weight;
};

/// g += weight_decay * w;  v = momentum * v + g;  w -= lr * (nesterov ? g + momentum * v : v).
struct Sgd {
  double lr, momentum = 0, weight_decay = 0;
  bool nesterov = false;
};
/// velocity [n] starts at zero; it may be null when momentum is 0.
template <class T>
void sgd_step(const Sgd& options, int64_t n, const T* gradient, T* velocity, T* weight);
template <class T>
void sgd_step(const Sgd& options, const std::vector<Update<T>>& updates);

/// Adam (Kingma and Ba 2015): m, v moving averages of g and g^2, bias-corrected by step (1 for the first
/// update); w -= lr * m^ / (sqrt(v^) + eps); weight_decay is added to the gradient.
struct Adam {
  double lr, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
};
template <class T>
void adam_step(const Adam& options, int64_t step, int64_t n, const T* gradient, T* m, T* v, T* weight);
template <class T>
void adam_step(const Adam& options, int64_t step, const std::vector<Update<T>>& updates);

/// RMSProp: s = alpha * s + (1 - alpha) * g^2; d = g / (sqrt(s) + eps); with momentum b = momentum * b + d, w
/// -= lr * b.
struct RmsProp {
  double lr, alpha = 0.99, eps = 1e-8, momentum = 0, weight_decay = 0;
};
/// momentum_buffer [n] starts at zero; it may be null when momentum is 0.
template <class T>
void rmsprop_step(const RmsProp& options, int64_t n, const T* gradient, T* square_average, T* momentum_buffer,
                  T* weight);
template <class T>
void rmsprop_step(const RmsProp& options, const std::vector<Update<T>>& updates);

}  // namespace hashgrad::cpu
