#include "attacks/cw_linf.h"

#include "attacks/lead.h"

namespace hashgrad {
namespace {

constexpr double first_tau = 1, last_tau = 1.0 / 256;

/// All rows at once, each in its own iteration of its own problem.
class Search {
 public:
  Search(const Oracle& oracle, const CwLinf::Options& options, const AttackInput& input)
      : oracle_(oracle),
        options_(options),
        constants_{options.c0, options.c_steps, options.iters},
        nearest_(oracle, input, options.kappa),
        live_(input, nearest_.open()),
        iterates_(live_.input().x),
        searches_(live_.size(), {.c = options.c0}),
        taus_(live_.size(), first_tau) {}

  Crafted run() {
    while (!live_.empty()) iterate();
    return nearest_.take();
  }

 private:
  void iterate() {
    const LeadGradient pass = lead_gradient(oracle_, iterates_.x, live_.goal());
    std::vector<uint8_t> goes_on(live_.size());
    for_float_type(iterates_.x.dtype(), "cw-linf", [&]<class T>() {
      for_rows(live_.size(), [&](size_t i) { goes_on[i] = advance<T>(i, pass); });
    });
    live_.keep_if(goes_on, iterates_.anchor, iterates_.w, iterates_.m, iterates_.v, iterates_.x, searches_,
                  taus_);
  }

  /// Judges the iterate of row i and goes to the next one; false when the row is done.
  template <class T>
  bool advance(size_t i, const LeadGradient& pass) {
    const Lead& lead = pass.leads[i];
    const size_t row = live_.row(i);
    DoubledConstant& search = searches_[i];
    nearest_.count(row, 1, 1);
    if (!lead.finite) return nearest_.end(row, Status::nan), false;

    const double excess = excess_of<T>(i);
    if (lead.by(options_.kappa)) {
      const T* image = row_data<T>(iterates_.x, i);
      const double distance = linf_distance(image, row_data<T>(live_.input().x, i), iterates_.pixels());
      nearest_.offer(row, distance, image);
      if (excess < 1e-4 * search.c) {
        taus_[i] = options_.tau_factor * std::min(taus_[i], distance);
        if (taus_[i] <= last_tau) return nearest_.end(row, Status::ok), false;
        search.solved();
        iterates_.forget<T>(i);
      }
    } else if (search.taken == 0 && lead.zero && excess == 0) {
      return nearest_.end(row, Status::zero_grad), false;
    }
    descend(i, lead.by(options_.kappa) ? 0 : search.c, row_data<T>(pass.gradient, i));
    return search.unsolved(constants_) || (nearest_.end(row, Status::max_iter), false);
  }

  /// sum max(0, |x' - anchor| - tau).
  template <class T>
  double excess_of(size_t i) const {
    const T *x = row_data<T>(iterates_.x, i), *anchor = row_data<T>(iterates_.anchor, i);
    return lane_sum(iterates_.pixels(), [=, tau = taus_[i]](int64_t p) {
      return std::max(0.0, std::abs(static_cast<double>(x[p]) - static_cast<double>(anchor[p])) - tau);
    });
  }

  /// Adam on excess - c * lead.
  template <class T>
  void descend(size_t i, double c, const T* lead_gradient) {
    const T *x = row_data<T>(iterates_.x, i), *anchor = row_data<T>(iterates_.anchor, i);
    const T weight = static_cast<T>(c), tau = static_cast<T>(taus_[i]);
    const AdamStep step(options_.lr, searches_[i].taken + 1, options_.adam_eps);
    iterates_.descend<T>(i, step, [=](int64_t p) {
      const T d = x[p] - anchor[p];
      return (d > tau ? T{1} : d < -tau ? T{-1} : T{0}) - weight * lead_gradient[p];
    });
  }

  const Oracle& oracle_;
  const CwLinf::Options& options_;
  const ConstantOptions constants_;
  Nearest nearest_;
  LiveRows live_;
  TanhRows iterates_;
  std::vector<DoubledConstant> searches_;
  std::vector<double> taus_;
};

}  // namespace

CwLinf::CwLinf(Options options) : options_(options) {
  validate_hinge(options_.kappa, options_.lr, "cw-linf");
  validate({options_.c0, options_.c_steps, options_.iters}, "cw-linf");
  check(options_.tau_factor > 0 && options_.tau_factor < 1,
        "cw-linf: tau_factor = {}, a number in (0, 1) expected", options_.tau_factor);
}

std::string CwLinf::repr() const {
  return fmt::format(
      "CwLinf({{.kappa = {}, .c0 = {}, .c_steps = {}, .iters = {}, .lr = {}, .tau_factor = {}, .adam_eps = "
      "AdamEps::{}}})",
      options_.kappa, options_.c0, options_.c_steps, options_.iters, options_.lr, options_.tau_factor,
      name_of(options_.adam_eps));
}

Crafted CwLinf::craft(const Oracle& oracle, const AttackInput& input) const {
  return Search(oracle, options_, input).run();
}

AttackInfo CwLinf::info() {
  const Options usual;
  return {"cw-linf",
          "smallest Linf distance: changes above a falling tau are penalised (Carlini and Wagner, S&P 2017)",
          {kappa_setting(), c0_setting(usual.c0),
           c_steps_setting(usual.c_steps, "values of c, each twice the last one"), iters_setting(usual.iters),
           lr_setting(usual.lr),
           AttackSetting::number("tau-factor", usual.tau_factor, 0, 1,
                                 "tau falls to this part of the largest change"),
           adam_eps_setting()},
          [](const AttackSettings& s) -> std::unique_ptr<Attack> {
            return std::make_unique<CwLinf>(Options{.kappa = s.number("kappa"),
                                                    .c0 = s.number("c0"),
                                                    .c_steps = s.integer("c-steps"),
                                                    .iters = s.integer("iters"),
                                                    .lr = s.number("lr"),
                                                    .tau_factor = s.number("tau-factor"),
                                                    .adam_eps = parse_adam_eps(s.word("adam-eps"))});
          },
          {"c0=0.1,c-steps=3,iters=20,lr=0.1,tau-factor=0.7",
           "kappa=0.5,c0=0.1,c-steps=3,iters=20,lr=0.1,tau-factor=0.7,adam-eps=corrected"}};
}

}  // namespace hashgrad
