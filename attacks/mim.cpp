#include "attacks/mim.h"

#include <algorithm>
#include <cmath>

#include "attacks/climb.h"
#include "attacks/rows.h"
#include "core/parallel.h"

namespace hashgrad {
namespace {

/// m <- decay * m + g / mean |g|, by way of g / max |g| so that no sum underflows. A zero gradient adds
/// nothing.
template <class T>
void accumulate(const T* g, int64_t n, double decay, T* m) {
  double largest = 0, sum = 0;
  for (int64_t i = 0; i < n; ++i) largest = std::max(largest, std::abs(static_cast<double>(g[i])));
  for (int64_t i = 0; i < n && largest > 0; ++i) sum += std::abs(static_cast<double>(g[i]) / largest);
  for (int64_t i = 0; i < n; ++i) {
    const double unit = largest > 0 ? static_cast<double>(g[i]) / largest * static_cast<double>(n) / sum : 0;
    m[i] = static_cast<T>(decay * static_cast<double>(m[i]) + unit);
  }
}

/// The momentum after one more gradient, row by row.
void accumulate(const Tensor& gradient, double decay, Tensor& momentum) {
  if (!momentum.defined()) momentum = Tensor::zeros(gradient.shape(), gradient.dtype());
  const int64_t n = row_size(gradient);
  for_float_type(gradient.dtype(), "mim", [&]<class T>() {
    const T* g = gradient.data<T>();
    T* m = momentum.data<T>();
    parallel_for(gradient.size(0), [&](int64_t row) { accumulate(g + row * n, n, decay, m + row * n); });
  });
}

}  // namespace

Mim::Mim(Options options) : options_(std::move(options)) {
  validate({options_.norm, options_.eps}, "mim", {Norm::linf, Norm::l2, Norm::l1});
  check(options_.iters >= 1 && options_.iters <= 1'000'000, "mim: iters = {}, 1 to 1000000 expected",
        options_.iters);
  check(options_.step >= 0 && options_.step <= 1e30, "mim: step = {}, a number in [0, 1e30] expected",
        options_.step);
  check(options_.decay >= 0 && options_.decay <= 1, "mim: decay = {}, a number in [0, 1] expected",
        options_.decay);
  if (options_.step == 0) options_.step = 2 * options_.eps / static_cast<double>(options_.iters);
}

std::string Mim::repr() const {
  return fmt::format(
      "Mim({{.norm = Norm::{}, .eps = {}, .step = {}, .iters = {}, .decay = {}, .early_stop = {}, .loss = "
      "\"{}\"}})",
      name_of(options_.norm), options_.eps, options_.step, options_.iters, options_.decay,
      options_.early_stop, options_.loss.name());
}

Crafted Mim::craft(const Oracle& oracle, const AttackInput& input) const {
  const Threat ball{options_.norm, options_.eps};
  const auto direction = [&](const Tensor& gradient, Tensor& momentum) {
    accumulate(gradient, options_.decay, momentum);
    return ball.norm == Norm::l1 ? unit_l1(momentum) : steepest(momentum, ball.norm);
  };
  const auto move = [&](const Tensor& x, const Tensor& along, const Tensor& origin) {
    return project(step(x, options_.step, along), origin, ball);
  };
  return climb(oracle, input, {options_.iters, options_.early_stop, options_.loss, direction, move});
}

AttackInfo Mim::info() {
  return {"mim",
          "bim along a momentum of normalised gradients (Dong et al., CVPR 2018)",
          {eps_setting(0.3), norm_setting("linf", {"linf", "l2", "l1"}),
           AttackSetting::number("step", 0, 0, 1e30, "step in pixels; 0: 2 eps / iters"), iters_setting(10),
           AttackSetting::number("decay", 1, 0, 1, "share of the momentum kept per step"), loss_setting(),
           AttackSetting::flag("no-early-stop", "all steps, and the last iterate")},
          [](const AttackSettings& s) -> std::unique_ptr<Attack> {
            return std::make_unique<Mim>(Options{.norm = parse_norm(s.word("norm")),
                                                 .eps = s.number("eps"),
                                                 .step = s.number("step"),
                                                 .iters = s.integer("iters"),
                                                 .decay = s.number("decay"),
                                                 .early_stop = !s.flag("no-early-stop"),
                                                 .loss = s.word("loss")});
          },
          {"eps=0.1,iters=4", "norm=l2,eps=0.5,iters=4,decay=0.5,no-early-stop", "norm=l1,eps=3,iters=4"}};
}

}  // namespace hashgrad
