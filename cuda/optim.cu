// Optimiser updates. Networks have dozens of parameters, most of them small, so a launch takes many at once.
#include <cmath>

#include "core/error.h"
#include "cuda/elementwise.h"
#include "cuda/gpu.h"
#include "cuda/optim.h"

namespace hashgrad::HASHGRAD_GPU {
namespace {

using cpu::Adam;
using cpu::Pace;
using cpu::RmsProp;
using cpu::Sgd;
using cpu::Update;

// The rules: one element's update. lr is that of the parameter, corrected; root2 is the root of the second
// correction; a buffer that is not used is null.

template <class T>
struct SgdRule {
  T momentum;
  bool nesterov;
  __device__ void operator()(T lr, T, int64_t i, const Update<T>& u) const {
    const T g = u.gradient[i] + static_cast<T>(u.decay) * u.weight[i];
    T direction = g;
    if (u.first) {
      const T v = u.first[i] = momentum * u.first[i] + g;
      direction = nesterov ? g + momentum * v : v;
    }
    u.weight[i] -= lr * direction;
  }
};

template <class T>
struct AdamRule {
  T beta1, beta2, rest1, rest2, eps;
  __device__ void operator()(T lr, T root2, int64_t i, const Update<T>& u) const {
    const T g = u.gradient[i] + static_cast<T>(u.decay) * u.weight[i];
    const T m = u.first[i] = beta1 * u.first[i] + rest1 * g;
    const T v = u.second[i] = beta2 * u.second[i] + rest2 * g * g;
    u.weight[i] -= lr * m / (std::sqrt(v) / root2 + eps);
  }
};

template <class T>
struct RmsPropRule {
  T alpha, rest, eps, momentum;
  __device__ void operator()(T lr, T, int64_t i, const Update<T>& u) const {
    const T g = u.gradient[i] + static_cast<T>(u.decay) * u.weight[i];
    const T s = u.first[i] = alpha * u.first[i] + rest * g * g;
    T direction = g / (std::sqrt(s) + eps);
    if (u.second) direction = u.second[i] = momentum * u.second[i] + direction;
    u.weight[i] -= lr * direction;
  }
};

constexpr int most_updates = 32;  // per launch: the parameters of a kernel have 4 KB of room
constexpr int64_t chunk = 4 * block_size;

template <class T>
struct Batch {
  int count = 0;
  int64_t blocks = 0;
  int64_t first_block[most_updates];
  Update<T> of[most_updates];
};

// A block updates `chunk` elements of one parameter, which it finds by the number of its first block.
template <class T, class Rule>
__global__ void update_kernel(Batch<T> batch, const Pace* pace, Rule rule) {
  int k = 0;
  while (k + 1 < batch.count && batch.first_block[k + 1] <= blockIdx.x) ++k;
  const Update<T>& update = batch.of[k];
  const T lr = static_cast<T>(pace->lr * update.rate / pace->correction1);
  const T root2 = static_cast<T>(std::sqrt(pace->correction2));
  const int64_t begin = (blockIdx.x - batch.first_block[k]) * chunk;
  const int64_t end = begin + chunk < update.n ? begin + chunk : update.n;
  for (int64_t i = begin + threadIdx.x; i < end; i += block_size) rule(lr, root2, i, update);
}

/// Applies the rule to all parameters.
template <class T, class Rule>
void update_all(const std::vector<Update<T>>& updates, const Pace* pace, Rule rule) {
  Batch<T> batch{};
  const auto flush = [&] {
    launch(update_kernel<T, Rule>, batch.blocks, block_size, 0, batch, pace, rule);
    batch = {};
  };
  for (const Update<T>& u : updates) {
    batch.first_block[batch.count] = batch.blocks;
    batch.of[batch.count] = u;
    batch.blocks += blocks_for(u.n, chunk);
    if (++batch.count == most_updates) flush();
  }
  if (batch.count > 0) flush();
}

}  // namespace

template <class T>
void sgd_step(const Sgd& options, const Pace* pace, const std::vector<Update<T>>& updates) {
  for (const Update<T>& u : updates)
    check(u.first || options.momentum == 0, "sgd_step: momentum {} needs a velocity buffer",
          options.momentum);
  const SgdRule<T> rule{static_cast<T>(options.momentum), options.nesterov};
  update_all(updates, pace, rule);
}

template <class T>
void adam_step(const Adam& options, const Pace* pace, const std::vector<Update<T>>& updates) {
  const AdamRule<T> rule{static_cast<T>(options.beta1), static_cast<T>(options.beta2),
                         static_cast<T>(1 - options.beta1), static_cast<T>(1 - options.beta2),
                         static_cast<T>(options.eps)};
  update_all(updates, pace, rule);
}

template <class T>
void rmsprop_step(const RmsProp& options, const Pace* pace, const std::vector<Update<T>>& updates) {
  for (const Update<T>& u : updates)
    check(u.second || options.momentum == 0, "rmsprop_step: momentum {} needs a buffer", options.momentum);
  const RmsPropRule<T> rule{static_cast<T>(options.alpha), static_cast<T>(1 - options.alpha),
                            static_cast<T>(options.eps), static_cast<T>(options.momentum)};
  update_all(updates, pace, rule);
}

#define INSTANTIATE(T)                                                              \
  template void sgd_step(const Sgd&, const Pace*, const std::vector<Update<T>>&);   \
  template void adam_step(const Adam&, const Pace*, const std::vector<Update<T>>&); \
  template void rmsprop_step(const RmsProp&, const Pace*, const std::vector<Update<T>>&);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace hashgrad::HASHGRAD_GPU
