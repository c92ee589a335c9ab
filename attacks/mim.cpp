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

/// The same with g as it is.
template <class T>
void accumulate_plain(const T* g, int64_t n, double decay, T* m) {
  for (int64_t i = 0; i < n; ++i)
    m[i] = static_cast<T>(decay * static_cast<double>(m[i]) + static_cast<double>(g[i]));
}

/// The momentum after one more gradient, row by row; normalised if it is not yet.
void accumulate(const Tensor& gradient, bool normalised, double decay, Tensor& momentum) {
  if (!momentum.defined()) momentum = Tensor::zeros(gradient.shape(), gradient.dtype());
  const int64_t n = row_size(gradient);
  for_float_type(gradient.dtype(), "mim", [&]<class T>() {
    const T* g = gradient.data<T>();
    T* m = momentum.data<T>();
    const auto add = normalised ? accumulate_plain<T> : accumulate<T>;
    parallel_for(gradient.size(0), [&](int64_t row) { add(g + row * n, n, decay, m + row * n); });
  });
}

// CleverHans and Foolbox: all of the momentum in a step, and one factor for all pixels.
constexpr LibraryRules dense_radial{.step = StepRule::dense, .ball = BallRule::radial};

constexpr LibraryProfile profiles[] = {
    {"ch21", Norm::linf, 0.3, 0.06, 0, 10},
    {"ch21", Norm::l2, 0.3, 0.06, 0, 10},
    {"ch21", Norm::l1, 0.3, 0.06, 0, 10, dense_radial},
    {"ch31", Norm::linf, 0.3, 0.06, 0, 10},
    {"ch31", Norm::l2, 0.3, 0.06, 0, 10},
    {"foolbox3", Norm::linf, 0.3, 0, 0.2, 10},
    {"foolbox3", Norm::l2, 0.3, 0, 0.2, 10},
    {"foolbox3", Norm::l1, 0.3, 0, 0.2, 10, dense_radial},
    {"art", Norm::linf, 0.3, 0.1, 0, 100},
    {"art", Norm::l2, 0.3, 0.1, 0, 100, {.ball = BallRule::box_first}},
    {"art", Norm::l1, 0.3, 0.1, 0, 100, {.ball = BallRule::box_first}},
    {"ta35", Norm::linf, 8.0 / 255, 2.0 / 255, 0, 10},
    {"advertorch", Norm::linf, 0.3, 0.01, 0, 40},
    {"advertorch", Norm::l2, 0.3, 0.01, 0, 40},
};

Mim::Options options_of(const AttackSettings& s) {
  Mim::Options options{.norm = parse_norm(s.word("norm")),
                       .eps = s.number("eps"),
                       .step = s.number("step"),
                       .iters = s.integer("iters"),
                       .decay = s.number("decay"),
                       .early_stop = !s.flag("no-early-stop"),
                       .loss = s.word("loss")};
  const std::string library = s.word("compat");
  if (library == "none") return options;
  const LibraryProfile own = profile_of(profiles, library, options.norm, "mim");
  options.eps = s.number("eps", own.eps);
  options.step = s.number("step", own.step_of(options.eps));
  options.iters = s.integer("iters", own.iters);
  options.early_stop = false;
  options.unit_first = library == "foolbox3";
  options.rules = own.rules;
  return options;
}

}  // namespace

Mim::Mim(Options options) : options_(std::move(options)) {
  validate({options_.norm, options_.eps}, "mim", {Norm::linf, Norm::l2, Norm::l1});
  validate_count(options_.iters, "iters", "mim");
  check(options_.step >= 0 && options_.step <= 1e30, "mim: step = {}, a number in [0, 1e30] expected",
        options_.step);
  check(options_.decay >= 0 && options_.decay <= 1, "mim: decay = {}, a number in [0, 1] expected",
        options_.decay);
  if (options_.step == 0) options_.step = 2 * options_.eps / static_cast<double>(options_.iters);
}

std::string Mim::repr() const {
  return fmt::format(
      "Mim({{.norm = Norm::{}, .eps = {}, .step = {}, .iters = {}, .decay = {}, .early_stop = {}, .loss = "
      "\"{}\", .unit_first = {}{}}})",
      name_of(options_.norm), options_.eps, options_.step, options_.iters, options_.decay,
      options_.early_stop, options_.loss.name(), options_.unit_first,
      repr_of(options_.rules, Options{}.rules));
}

Crafted Mim::craft(const Oracle& oracle, const AttackInput& input) const {
  const Threat ball{options_.norm, options_.eps};
  const LibraryRules& rules = options_.rules;
  const auto direction = [&](const Tensor& gradient, Tensor& momentum) {
    accumulate(options_.unit_first ? along(gradient, ball.norm, rules) : gradient, options_.unit_first,
               options_.decay, momentum);
    return along(momentum, ball.norm, rules);
  };
  const auto move = [&](const Tensor& x, const Tensor& way, const Tensor& origin) {
    return into_ball(step(x, options_.step, way), origin, ball, rules.ball);
  };
  return climb(oracle, input, {options_.iters, options_.early_stop, options_.loss, direction, move});
}

AttackInfo Mim::info() {
  return {"mim",
          "bim along a momentum of normalised gradients (Dong et al., CVPR 2018)",
          {compat_setting(profiles), eps_setting(0.3), norm_setting("linf", {"linf", "l2", "l1"}),
           AttackSetting::number("step", 0, 0, 1e30, "step in pixels; 0: 2 eps / iters"), iters_setting(10),
           AttackSetting::number("decay", 1, 0, 1, "share of the momentum kept per step"), loss_setting(),
           AttackSetting::flag("no-early-stop", "all steps, and the last iterate")},
          [](const AttackSettings& s) { return std::make_unique<Mim>(options_of(s)); },
          {"eps=0.1,iters=4", "norm=l2,eps=0.5,iters=4,decay=0.5,no-early-stop", "norm=l1,eps=3,iters=4",
           "compat=foolbox3,eps=0.1,iters=4", "compat=ch21,norm=l1,eps=3,step=1,iters=4",
           "compat=art,norm=l1,eps=3,step=1,iters=4"}};
}

}  // namespace hashgrad
