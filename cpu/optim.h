// Optimiser updates, one pass over the parameters each, with the conventions of PyTorch.
#pragma once

#include <cstdint>
#include <vector>

namespace hashgrad::cpu {

/// What changes from one update to the next. Updates read it from the memory of their engine, so that an
/// update which a GPU has recorded can be run again with other numbers.
struct Pace {
  double lr;
  double correction1 = 1;  ///< adam: 1 - beta1^step, step 1 for the first update
  double correction2 = 1;  ///< adam: 1 - beta2^step
};

/// One parameter of an update over many. `first` and `second` [n] are the state of the method; `rate`
/// multiplies the learning rate; g is the gradient plus `decay` times the weight.
template <class T>
struct Update {
  int64_t n;
  double rate, decay;
  const T* gradient;
  T *first, *second, *weight;
};

/// v = momentum * v + g;  w -= lr * (nesterov ? g + momentum * v : v).
struct Sgd {
  double momentum = 0;
  bool nesterov = false;
};
/// `first` is the velocity v, which starts at zero; it may be null when momentum is 0.
template <class T>
void sgd_step(const Sgd& options, const Pace* pace, const std::vector<Update<T>>& updates);

/// Adam (Kingma and Ba 2015): m, v moving averages of g and g^2, bias-corrected by step; w -= lr * m^ /
/// (sqrt(v^) + eps).
struct Adam {
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
};
/// The pace of update number `step`, from 1.
Pace adam_pace(const Adam& options, double lr, int64_t step);
/// `first` and `second` are m and v, which start at zero.
template <class T>
void adam_step(const Adam& options, const Pace* pace, const std::vector<Update<T>>& updates);

/// RMSProp: s = alpha * s + (1 - alpha) * g^2; d = g / (sqrt(s) + eps); with momentum b = momentum * b + d, w
/// -= lr * b.
struct RmsProp {
  double alpha = 0.99, eps = 1e-8, momentum = 0;
};
/// `first` is s, `second` is b, which starts at zero; it may be null when momentum is 0.
template <class T>
void rmsprop_step(const RmsProp& options, const Pace* pace, const std::vector<Update<T>>& updates);

}  // namespace hashgrad::cpu
