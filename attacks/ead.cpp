#include "attacks/ead.h"

#include <cmath>

#include "attacks/lead.h"
#include "attacks/row_loops.h"

namespace hashgrad {
namespace {

/// One iteration of FISTA on n pixels: a step of `rate` from y against d/dy [||y - origin||^2 - weight *
/// lead], shrunk towards origin by beta: the new x; y runs ahead of it by `momentum` times its change.
template <class T>
void shrink(int64_t n, T rate, T weight, T beta, T momentum, const T* origin, const T* lead_gradient, T* x,
            T* y) {
  for (int64_t i = 0; i < n; ++i) {
    const T z = y[i] - rate * (T{2} * (y[i] - origin[i]) - weight * lead_gradient[i]);
    const T d = z - origin[i];
    const T down = std::min(z - beta, T{1}), up = std::max(z + beta, T{0});
    const T next = d > beta ? down : d < -beta ? up : origin[i];
    y[i] = next + momentum * (next - x[i]);
    x[i] = next;
  }
}

/// All rows at once, each in its own iteration of its own step of the search on c.
class Search {
 public:
  Search(const Oracle& oracle, const Ead::Options& options, const AttackInput& input)
      : oracle_(oracle),
        options_(options),
        constants_{options.c0, options.c_steps, options.iters, options.abort_early},
        nearest_(oracle, input, options.kappa),
        live_(input, nearest_.open()),
        x_(live_.input().x.clone()),
        y_(x_.clone()),
        searches_(live_.size(), {.c = options.c0}) {}

  Crafted run() {
    while (!live_.empty()) iterate();
    return nearest_.take();
  }

 private:
  void iterate() {
    const LeadGradient ahead = lead_gradient(oracle_, y_, live_.goal());
    for_float_type(x_.dtype(), "ead",
                   [&]<class T>() { for_rows(live_.size(), [&](size_t i) { descend<T>(i, ahead); }); });
    const std::vector<Lead> here = leads(oracle_, x_, live_.goal());
    std::vector<uint8_t> goes_on(live_.size());
    for_float_type(x_.dtype(), "ead", [&]<class T>() {
      for_rows(live_.size(), [&](size_t i) { goes_on[i] = judge<T>(i, ahead.leads[i], here[i]); });
    });
    live_.keep_if(goes_on, x_, y_, searches_);
  }

  template <class T>
  void descend(size_t i, const LeadGradient& ahead) {
    const double k = static_cast<double>(searches_[i].iter);
    const double rate = options_.lr * std::sqrt(1 - k / static_cast<double>(options_.iters));
    const double momentum = options_.fista ? (k + 1) / (k + 4) : 0;
    const double weight = ahead.leads[i].by(options_.kappa) ? 0 : searches_[i].c;
    shrink(pixels(), static_cast<T>(rate), static_cast<T>(weight), static_cast<T>(options_.beta),
           static_cast<T>(momentum), row_data<T>(live_.input().x, i), row_data<T>(ahead.gradient, i),
           row_data<T>(x_, i), row_data<T>(y_, i));
  }

  /// Judges the new x of row i; false when the row is done.
  template <class T>
  bool judge(size_t i, const Lead& ahead, const Lead& here) {
    const size_t row = live_.row(i);
    BisectedConstant& search = searches_[i];
    nearest_.count(row, 2, 1);
    if (!ahead.finite || !here.finite) return nearest_.end(row, Status::nan), false;

    const T *x = row_data<T>(x_, i), *origin = row_data<T>(live_.input().x, i);
    const double l1 = l1_distance(x, origin, pixels());
    const double elastic = squared_l2(x, origin, pixels()) + options_.beta * l1;
    const bool stalled =
        search.stalled(constants_, elastic + search.c * std::max(0.0, options_.kappa - here.value));
    if (!stalled && here.by(options_.kappa)) {
      nearest_.offer(row, options_.rule == Ead::Rule::en ? elastic : l1, x);
      search.found = true;
    }
    if (search.iter == 0 && !ahead.by(options_.kappa) && ahead.zero)
      return nearest_.end(row, Status::zero_grad), false;
    if (!stalled && !search.last(constants_)) return ++search.iter, true;
    if (!search.next_step(constants_)) return nearest_.end(row, Status::max_iter), false;
    std::copy_n(origin, pixels(), row_data<T>(x_, i));
    std::copy_n(origin, pixels(), row_data<T>(y_, i));
    return true;
  }

  int64_t pixels() const { return x_.numel() / x_.size(0); }

  const Oracle& oracle_;
  const Ead::Options& options_;
  const ConstantOptions constants_;
  Nearest nearest_;
  LiveRows live_;
  Tensor x_, y_;  // [rows,C,H,W]: iterates, and where gradients are taken (may leave the box)
  std::vector<BisectedConstant> searches_;
};

/// CleverHans 3.1; CleverHans 2.1; the attack's own repository.
Ead::Options profile(const std::string& name) {
  if (name == "ch31") return {};
  if (name == "ch21") return {.beta = 1e-3};
  return {.beta = 1e-3, .iters = 10'000, .abort_early = true};
}

}  // namespace

Ead::Ead(Options options) : options_(options) {
  check(options_.beta >= 0 && options_.beta <= 1e30, "ead: beta = {}, a number in [0, 1e30] expected",
        options_.beta);
  validate_hinge(options_.kappa, options_.lr, "ead");
  validate({options_.c0, options_.c_steps, options_.iters, options_.abort_early}, "ead");
}

std::string Ead::repr() const {
  return fmt::format(
      "Ead({{.rule = Ead::Rule::{}, .beta = {}, .kappa = {}, .c0 = {}, .c_steps = {}, .iters = {}, .lr = {}, "
      ".abort_early = {}, .fista = {}}})",
      name_of(options_.rule), options_.beta, options_.kappa, options_.c0, options_.c_steps, options_.iters,
      options_.lr, options_.abort_early, options_.fista);
}

Crafted Ead::craft(const Oracle& oracle, const AttackInput& input) const {
  return Search(oracle, options_, input).run();
}

Ead::Rule parse_ead_rule(const std::string& text) {
  check(text == "en" || text == "l1", "ead: rule '{}' is neither en nor l1", text);
  return text == "en" ? Ead::Rule::en : Ead::Rule::l1;
}

const char* name_of(Ead::Rule rule) { return rule == Ead::Rule::en ? "en" : "l1"; }

AttackInfo Ead::info() {
  const Options usual;
  return {
      "ead",
      "smallest elastic-net or L1 distance, by FISTA and a search on c (Chen et al., AAAI 2018)",
      {AttackSetting::word("compat", "ch31", {"ch31", "ch21", "nra"},
                           "whose defaults hold; ch21: beta 1e-3; nra: beta 1e-3, iters 10000, abort early"),
       AttackSetting::word("rule", "en", {"en", "l1"},
                           "distance to choose by: ||.||_2^2 + beta ||.||_1, or ||.||_1"),
       AttackSetting::number("beta", usual.beta, 0, 1e30,
                             "weight of the L1 distance, in pixels: what is shrunk off"),
       kappa_setting(), c0_setting(usual.c0),
       c_steps_setting(usual.c_steps, "values of c; 10 or more: the last one again"),
       iters_setting(usual.iters), lr_setting(usual.lr), abort_early_setting(usual.abort_early),
       AttackSetting::flag("no-fista", "no momentum")},
      [](const AttackSettings& s) -> std::unique_ptr<Attack> {
        const Options base = profile(s.word("compat"));
        return std::make_unique<Ead>(
            Options{.rule = parse_ead_rule(s.word("rule")),
                    .beta = s.number("beta", base.beta),
                    .kappa = s.number("kappa"),
                    .c0 = s.number("c0"),
                    .c_steps = s.integer("c-steps"),
                    .iters = s.integer("iters", base.iters),
                    .lr = s.number("lr"),
                    .abort_early = s.word("abort-early", base.abort_early ? "yes" : "no") == "yes",
                    .fista = !s.flag("no-fista")});
      },
      {"c0=1,c-steps=3,iters=15",
       "rule=l1,beta=0.02,kappa=0.5,c0=1,c-steps=3,iters=15,abort-early=yes,no-fista"}};
}

}  // namespace hashgrad
