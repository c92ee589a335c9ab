#include "attacks/cw_l2.h"

#include "attacks/lead.h"

namespace hashgrad {
namespace {

/// All rows at once, each in its own iteration of its own step of the search on c.
class Search {
 public:
  Search(const Oracle& oracle, const CwL2::Options& options, const AttackInput& input)
      : oracle_(oracle),
        options_(options),
        constants_{options.c0, options.c_steps, options.iters, options.abort_early},
        nearest_(oracle, input, options.kappa),
        live_(input, nearest_.open()),
        iterates_(live_.input().x),
        searches_(live_.size(), {.c = options.c0}),
        distances_(live_.size(), 0) {}

  Crafted run() {
    while (!live_.empty()) iterate();
    return nearest_.take();
  }

 private:
  void iterate() {
    const LeadGradient pass = lead_gradient(oracle_, iterates_.x, live_.goal());
    std::vector<uint8_t> goes_on(live_.size());
    for_float_type(iterates_.x.dtype(), "cw-l2", [&]<class T>() {
      for_rows(live_.size(), [&](size_t i) { goes_on[i] = advance<T>(i, pass); });
    });
    live_.keep_if(goes_on, iterates_.anchor, iterates_.w, iterates_.m, iterates_.v, iterates_.x, searches_,
                  distances_);
  }

  /// Judges the iterate of row i and goes to the next one; false when the row is done.
  template <class T>
  bool advance(size_t i, const LeadGradient& pass) {
    const Lead& lead = pass.leads[i];
    const size_t row = live_.row(i);
    BisectedConstant& search = searches_[i];
    nearest_.count(row, 1, 1);
    if (!lead.finite) return nearest_.end(row, Status::nan), false;

    const double hinge = std::max(0.0, options_.kappa - lead.value);
    const bool short_of_goal = !lead.by(options_.kappa);
    const bool stalled = search.stalled(constants_, distances_[i] + search.c * hinge);
    if (!stalled && !short_of_goal) {
      const T* image = row_data<T>(iterates_.x, i);
      nearest_.offer(row, squared_l2(image, row_data<T>(live_.input().x, i), iterates_.pixels()), image);
      search.found = true;
    }
    if (search.iter == 0 && short_of_goal && lead.zero) return nearest_.end(row, Status::zero_grad), false;
    if (stalled || search.last(constants_)) {
      if (!search.next_step(constants_)) return nearest_.end(row, Status::max_iter), false;
      iterates_.restart(i, row_data<T>(live_.input().x, i));
      distances_[i] = 0;
    } else {
      descend(i, short_of_goal ? search.c : 0, row_data<T>(pass.gradient, i));
    }
    return true;
  }

  /// Adam on ||x' - anchor||^2 - c * lead.
  template <class T>
  void descend(size_t i, double c, const T* lead_gradient) {
    const T *x = row_data<T>(iterates_.x, i), *anchor = row_data<T>(iterates_.anchor, i);
    const T weight = static_cast<T>(c);
    const AdamStep step(options_.lr, ++searches_[i].iter, options_.adam_eps);
    iterates_.descend<T>(i, step,
                         [=](int64_t p) { return T{2} * (x[p] - anchor[p]) - weight * lead_gradient[p]; });
    distances_[i] = squared_l2(x, anchor, iterates_.pixels());
  }

  const Oracle& oracle_;
  const CwL2::Options& options_;
  const ConstantOptions constants_;
  Nearest nearest_;
  LiveRows live_;
  TanhRows iterates_;
  std::vector<BisectedConstant> searches_;
  std::vector<double> distances_;  // ||x' - anchor||^2
};

/// CleverHans 2.1; the attack's own repository; Foolbox 3.
CwL2::Options profile(const std::string& name) {
  if (name == "ch21") return {};
  return {.c0 = 1e-3,
          .c_steps = 9,
          .iters = 10'000,
          .lr = 1e-2,
          .adam_eps = name == "nra" ? AdamEps::tf1 : AdamEps::corrected};
}

}  // namespace

CwL2::CwL2(Options options) : options_(options) {
  validate_hinge(options_.kappa, options_.lr, "cw-l2");
  validate({options_.c0, options_.c_steps, options_.iters, options_.abort_early}, "cw-l2");
}

std::string CwL2::repr() const {
  return fmt::format(
      "CwL2({{.kappa = {}, .c0 = {}, .c_steps = {}, .iters = {}, .lr = {}, .abort_early = {}, .adam_eps = "
      "AdamEps::{}}})",
      options_.kappa, options_.c0, options_.c_steps, options_.iters, options_.lr, options_.abort_early,
      name_of(options_.adam_eps));
}

Crafted CwL2::craft(const Oracle& oracle, const AttackInput& input) const {
  return Search(oracle, options_, input).run();
}

AttackInfo CwL2::info() {
  const Options usual;
  return {
      "cw-l2",
      "smallest L2 distance, by Adam in tanh space and a search on c (Carlini and Wagner, S&P 2017)",
      {AttackSetting::word("compat", "ch21", {"ch21", "nra", "foolbox3"},
                           "whose defaults hold; nra and foolbox3: c0 1e-3, c-steps 9, iters 10000, lr 1e-2"),
       kappa_setting(), c0_setting(usual.c0),
       c_steps_setting(usual.c_steps, "values of c; 10 or more: the last one again"),
       iters_setting(usual.iters), lr_setting(usual.lr), abort_early_setting(usual.abort_early),
       adam_eps_setting()},
      [](const AttackSettings& s) -> std::unique_ptr<Attack> {
        const Options base = profile(s.word("compat"));
        return std::make_unique<CwL2>(
            Options{.kappa = s.number("kappa"),
                    .c0 = s.number("c0", base.c0),
                    .c_steps = s.integer("c-steps", base.c_steps),
                    .iters = s.integer("iters", base.iters),
                    .lr = s.number("lr", base.lr),
                    .abort_early = s.word("abort-early") == "yes",
                    .adam_eps = parse_adam_eps(s.word("adam-eps", name_of(base.adam_eps)))});
      },
      {"c0=1,c-steps=3,iters=20,lr=0.1", "kappa=0.5,c0=1,c-steps=2,iters=15,lr=0.1,adam-eps=corrected"}};
}

}  // namespace hashgrad
