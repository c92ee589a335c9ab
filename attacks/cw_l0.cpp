#include "attacks/cw_l0.h"

#include <algorithm>
#include <utility>

#include "attacks/lead.h"

namespace hashgrad {
namespace {

/// All rows at once, each in its own iteration of its own problem.
class Search {
 public:
  Search(const Oracle& oracle, const CwL0::Options& options, const AttackInput& input)
      : oracle_(oracle),
        options_(options),
        constants_{options.c0, options.c_steps, options.iters},
        channels_(options.channels_apart ? 1 : input.x.size(1)),
        nearest_(oracle, input, options.kappa),
        live_(input, nearest_.open()),
        iterates_(live_.input().x),
        free_(Tensor::full(iterates_.x.shape(), 1, DType::uint8)),
        searches_(live_.size(), {.c = options.c0}) {}

  Crafted run() {
    while (!live_.empty()) iterate();
    return nearest_.take();
  }

 private:
  void iterate() {
    const LeadGradient pass = lead_gradient(oracle_, iterates_.x, live_.goal());
    std::vector<uint8_t> goes_on(live_.size());
    for_float_type(iterates_.x.dtype(), "cw-l0", [&]<class T>() {
      for_rows(live_.size(), [&](size_t i) { goes_on[i] = advance<T>(i, pass); });
    });
    live_.keep_if(goes_on, iterates_.anchor, iterates_.w, iterates_.m, iterates_.v, iterates_.x, free_,
                  searches_);
  }

  /// Judges the iterate of row i and goes to the next one; false when the row is done.
  template <class T>
  bool advance(size_t i, const LeadGradient& pass) {
    const Lead& lead = pass.leads[i];
    const size_t row = live_.row(i);
    DoubledConstant& search = searches_[i];
    nearest_.count(row, 1, 1);
    if (!lead.finite) return nearest_.end(row, Status::nan), false;

    if (lead.by(options_.kappa)) {
      const T *image = row_data<T>(iterates_.x, i), *original = row_data<T>(live_.input().x, i);
      nearest_.offer(row, l0_distance(image, original, iterates_.pixels()), image);
      search.solved();
      iterates_.forget<T>(i);
      if (!freeze(i, row_data<T>(pass.gradient, i))) return nearest_.end(row, Status::ok), false;
      restore_frozen<T>(i);
      return true;
    }
    if (search.taken == 0 && search.step == 0 && lead.zero && !nearest_.found(row))
      return nearest_.end(row, Status::zero_grad), false;
    descend(i, search.c, row_data<T>(pass.gradient, i));
    return search.unsolved(constants_) || (nearest_.end(row, Status::max_iter), false);
  }

  /// Adam on ||x' - anchor||^2 - c * lead over the free pixels.
  template <class T>
  void descend(size_t i, double c, const T* lead_gradient) {
    const T *x = row_data<T>(iterates_.x, i), *anchor = row_data<T>(iterates_.anchor, i);
    const uint8_t* is_free = row_data<uint8_t>(free_, i);
    const T weight = static_cast<T>(c);
    const AdamStep step(options_.lr, searches_[i].taken + 1, options_.adam_eps);
    iterates_.descend<T>(i, step, [=](int64_t p) {
      return is_free[p] ? T{2} * (x[p] - anchor[p]) - weight * lead_gradient[p] : T{0};
    });
    restore_frozen<T>(i);
  }

  template <class T>
  void restore_frozen(size_t i) {
    const T* original = row_data<T>(live_.input().x, i);
    const uint8_t* is_free = row_data<uint8_t>(free_, i);
    T* x = row_data<T>(iterates_.x, i);
    for (int64_t p = 0; p < iterates_.pixels(); ++p) x[p] = is_free[p] ? x[p] : original[p];
  }

  /// Takes the pixels that matter least out of the search, one at least; false if none is left in it. What a
  /// pixel matters is its part in the lead, |change * gradient|.
  template <class T>
  bool freeze(size_t i, const T* lead_gradient) {
    const T *x = row_data<T>(iterates_.x, i), *original = row_data<T>(live_.input().x, i);
    uint8_t* is_free = row_data<uint8_t>(free_, i);
    const int64_t places = iterates_.pixels() / channels_;
    std::vector<std::pair<double, int64_t>> ranking;  // (part, place) of the free ones
    double total = 0;
    int64_t changed = 0;
    for (int64_t place = 0; place < places; ++place) {
      if (!is_free[place]) continue;
      double part = 0, largest = 0;
      for (int64_t p = place; p < iterates_.pixels(); p += places) {
        const double change = std::abs(static_cast<double>(x[p]) - static_cast<double>(original[p]));
        part += change * std::abs(static_cast<double>(lead_gradient[p]));
        largest = std::max(largest, change);
      }
      ranking.emplace_back(part, place);
      total += part;
      changed += largest >= 1e-4;
    }
    std::sort(ranking.begin(), ranking.end());
    const double most = 0.3 * std::sqrt(static_cast<double>(changed));
    size_t frozen = 0;
    do {
      for (int64_t p = ranking[frozen].second; p < iterates_.pixels(); p += places) is_free[p] = 0;
    } while (++frozen < ranking.size() && ranking[frozen - 1].first <= 0.01 * total &&
             static_cast<double>(frozen) < most);
    return frozen < ranking.size();
  }

  const Oracle& oracle_;
  const CwL0::Options& options_;
  const ConstantOptions constants_;
  const int64_t channels_;  // that are frozen together
  Nearest nearest_;
  LiveRows live_;
  TanhRows iterates_;
  Tensor free_;  // [rows,C,H,W] uint8: may still change
  std::vector<DoubledConstant> searches_;
};

}  // namespace

CwL0::CwL0(Options options) : options_(options) {
  validate_hinge(options_.kappa, options_.lr, "cw-l0");
  validate({options_.c0, options_.c_steps, options_.iters}, "cw-l0");
}

std::string CwL0::repr() const {
  return fmt::format(
      "CwL0({{.kappa = {}, .c0 = {}, .c_steps = {}, .iters = {}, .lr = {}, .channels_apart = {}, .adam_eps = "
      "AdamEps::{}}})",
      options_.kappa, options_.c0, options_.c_steps, options_.iters, options_.lr, options_.channels_apart,
      name_of(options_.adam_eps));
}

Crafted CwL0::craft(const Oracle& oracle, const AttackInput& input) const {
  return Search(oracle, options_, input).run();
}

AttackInfo CwL0::info() {
  const Options usual;
  return {"cw-l0",
          "fewest pixels: those that matter least go back, round by round (Carlini and Wagner, S&P 2017)",
          {kappa_setting(usual.kappa), c0_setting(usual.c0),
           c_steps_setting(usual.c_steps, "values of c, each twice the last one"), iters_setting(usual.iters),
           lr_setting(usual.lr),
           AttackSetting::flag("channels-apart", "the channels of a pixel go back one by one"),
           adam_eps_setting()},
          [](const AttackSettings& s) -> std::unique_ptr<Attack> {
            return std::make_unique<CwL0>(Options{.kappa = s.number("kappa"),
                                                  .c0 = s.number("c0"),
                                                  .c_steps = s.integer("c-steps"),
                                                  .iters = s.integer("iters"),
                                                  .lr = s.number("lr"),
                                                  .channels_apart = s.flag("channels-apart"),
                                                  .adam_eps = parse_adam_eps(s.word("adam-eps"))});
          },
          {"c0=1,c-steps=3,iters=15,lr=0.2", "kappa=0.5,c0=1,c-steps=3,iters=15,lr=0.2,channels-apart"}};
}

}  // namespace hashgrad
