#include "attacks/jsma.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "attacks/row_loops.h"
#include "attacks/saliency.h"
#include "attacks/target.h"
#include "core/math_mode.h"
#include "core/parallel.h"

namespace hashgrad {
namespace {

/// The two free features with the largest direction * rise, the first of equal ones; none where no rise is
/// other than zero.
template <class T>
std::vector<int64_t> two_largest(const T* rise, const std::vector<bool>& free, double direction) {
  std::vector<int64_t> best;
  if (std::all_of(rise, rise + free.size(), [](T v) { return v == 0; })) return best;
  const auto better = [=](int64_t a, int64_t b) {
    return direction * static_cast<double>(rise[a]) > direction * static_cast<double>(rise[b]);
  };
  for (int64_t i = 0; i < static_cast<int64_t>(free.size()); ++i) {
    if (!free[static_cast<size_t>(i)]) continue;
    best.insert(std::upper_bound(best.begin(), best.end(), i, better), i);
    if (best.size() > 2) best.pop_back();
  }
  return best;
}

/// The features that the rule changes next: two, one, or none.
template <class T>
std::vector<int64_t> choose(Jsma::Rule rule, const T* rise, const T* drop, const std::vector<bool>& free,
                            double direction) {
  if (rule == Jsma::Rule::rise) return two_largest(rise, free, direction);
  if (rule == Jsma::Rule::single) {
    const auto best = best_feature(rise, drop, free, direction);
    return best ? std::vector{*best} : std::vector<int64_t>{};
  }
  const auto best = best_pair(rise, drop, free, direction);
  return best ? std::vector{best->first, best->second} : std::vector<int64_t>{};
}

/// Changes row `row` of x by one step, or says why nothing can be changed. `chosen`: one flag per feature of
/// the row, set for those that any step has chosen.
template <class T>
std::optional<Status> move(const Jsma::Options& options, Tensor& x, const Saliency& map, int64_t row,
                           uint8_t* chosen) {
  const int64_t n = x.numel() / x.size(0);
  const T *rise = map.rise.data<T>() + row * n, *drop = map.drop.data<T>() + row * n;
  T* pixels = x.data<T>() + row * n;
  for (int64_t i = 0; i < n; ++i)
    if (!std::isfinite(rise[i]) || !std::isfinite(drop[i])) return Status::nan;
  const bool bounded_by_features = options.rule == Jsma::Rule::rise;
  if (bounded_by_features &&
      static_cast<double>(std::count(chosen, chosen + n, 1)) > static_cast<double>(n) * options.gamma)
    return Status::max_iter;
  const bool up = options.theta > 0;
  std::vector<bool> free(static_cast<size_t>(n));  // a saturated feature cannot move on
  for (int64_t i = 0; i < n; ++i) {
    const double v = static_cast<double>(pixels[i]);
    free[static_cast<size_t>(i)] =
        (up ? v < options.full : v > 1 - options.full) && !(options.once && chosen[i]);
  }
  const std::vector<int64_t> features = choose(options.rule, rise, drop, free, up ? 1 : -1);
  for (const int64_t i : features) {
    pixels[i] = std::clamp(static_cast<T>(static_cast<double>(pixels[i]) + options.theta), T{0}, T{1});
    chosen[i] = 1;
  }
  if (!features.empty()) return std::nullopt;
  const auto zero = [](T v) { return v == 0; };
  return std::all_of(rise, rise + n, zero) && std::all_of(drop, drop + n, zero) ? Status::zero_grad
                                                                                : Status::no_pair;
}

/// The rows that go on, one step after the other, in parts of bounded size; a finished row leaves. The
/// iterates stay on the CPU, where their next features are found (see saliency()): a step takes the images
/// of a part to the model's device, and the map back.
class Search {
 public:
  Search(const Oracle& oracle, const Jsma::Options& options, const AttackInput& input)
      : oracle_(oracle),
        options_(options),
        goal_(input.goal()),
        targets_(input.targets),
        out_(input.x),
        chosen_(Tensor::zeros(input.x.shape(), DType::uint8)) {
    if (targets_.defined()) return;
    // What to aim at costs one more pass; what counts is still the label.
    targets_ = choose_targets(TargetRule::runner_up, oracle.logits(input.x), input.y);
    std::fill(out_.forwards.begin(), out_.forwards.end(), 1);
  }

  Crafted run(int64_t steps) {
    std::vector<int64_t> live(out_.status.size());
    std::iota(live.begin(), live.end(), 0);
    for (int64_t taken = 0; taken <= steps && !live.empty(); ++taken) {
      std::vector<int64_t> going_on;
      for (auto part = live.begin(); part != live.end();) {
        const auto end = part + std::min<int64_t>(oracle_.batch(), live.end() - part);
        iterate({part, end}, taken, taken == steps, going_on);
        part = end;
      }
      live = std::move(going_on);
    }
    return std::move(out_);
  }

 private:
  void iterate(const std::vector<int64_t>& rows, int64_t taken, bool last, std::vector<int64_t>& going_on) {
    Tensor x = gather(out_.x_adv, rows);
    const Goal goal = goal_.rows(rows);
    Saliency map = last ? Saliency{oracle_.exact_logits(x), {}, {}, 0}
                        : saliency(oracle_, x, gather(targets_, rows), options_.on);
    // What was wrong before is for the judge's arithmetic to say.
    if (taken == 0 && math_mode() != Math::fp32) map.logits = oracle_.exact_logits(x);
    oracle_.confirm(x, goal, map.logits);
    const std::vector<int64_t> predictions = predictions_of(map.logits);
    std::vector<std::optional<Status>> end(rows.size());  // none: the row goes on
    parallel_for(static_cast<int64_t>(rows.size()), [&](int64_t i) {
      std::optional<Status>& own = end[static_cast<size_t>(i)];
      if (goal.reached(i, predictions[static_cast<size_t>(i)]))
        own = taken == 0 ? Status::already_wrong : Status::ok;
      else if (last)
        own = Status::max_iter;
      else
        own = for_float_type(x.dtype(), "jsma", [&]<class T>() {
          return move<T>(options_, x, map, i,
                         row_data<uint8_t>(chosen_, static_cast<size_t>(rows[static_cast<size_t>(i)])));
        });
    });
    scatter(out_.x_adv, rows, x);
    for (size_t i = 0; i < rows.size(); ++i) {
      const size_t row = static_cast<size_t>(rows[i]);
      ++out_.forwards[row];
      out_.backwards[row] += map.backwards;
      if (!end[i])
        going_on.push_back(rows[i]);
      else if (*end[i] == Status::ok || *end[i] == Status::already_wrong)
        out_.first_success[row] = taken;
      out_.status[row] = end[i].value_or(Status::max_iter);
    }
  }

  const Oracle& oracle_;
  const Jsma::Options& options_;
  const Goal goal_;
  Tensor targets_;  // [N]
  Crafted out_;
  Tensor chosen_;  // [N,C,H,W] uint8, see move()
};

/// CleverHans 2.0 and 2.1; 3.1; ART; torchattacks 3.5; AdverTorch, which does not look whether a feature is
/// white already.
Jsma::Options profile(const std::string& name) {
  if (name == "ch20" || name == "ch21") return {.gamma = 1, .once = true};
  if (name == "ch31") return {.on = Outputs::logits, .gamma = 1, .once = true};
  if (name == "art") return {.rule = Jsma::Rule::rise, .on = Outputs::logits, .theta = 0.1, .gamma = 1};
  if (name == "ta35") return {.on = Outputs::logits, .once = true, .full = 0.99, .round_up = true};
  if (name == "advertorch") return {.on = Outputs::logits, .gamma = 1, .once = true, .full = 2};
  return {};
}

}  // namespace

Jsma::Jsma(Options options) : options_(options) {
  check(std::abs(options_.theta) <= 1 && options_.theta != 0,
        "jsma: theta = {}, a number in [-1,1] but 0 expected", options_.theta);
  check(options_.gamma > 0 && options_.gamma <= 1, "jsma: gamma = {}, a number in (0,1] expected",
        options_.gamma);
  check(options_.full > 0, "jsma: full = {}, a positive number expected", options_.full);
}

std::string Jsma::repr() const {
  return fmt::format(
      "Jsma({{.rule = Jsma::Rule::{}, .on = Outputs::{}, .theta = {}, .gamma = {}, .once = {}, .full = {}, "
      ".round_up = {}}})",
      name_of(options_.rule), name_of(options_.on), options_.theta, options_.gamma, options_.once,
      options_.full, options_.round_up);
}

int64_t Jsma::steps(int64_t features) const {
  // As many as saturate every feature, one by one.
  if (options_.rule == Rule::rise)
    return features * static_cast<int64_t>(std::ceil(1 / std::abs(options_.theta)) + 1);
  const double share = static_cast<double>(features) * options_.gamma / (options_.rule == Rule::pair ? 2 : 1);
  // 100 * 0.29 is a little less than 29.
  return static_cast<int64_t>(options_.round_up ? std::ceil(share - 1e-9) : std::floor(share + 1e-9));
}

Crafted Jsma::craft(const Oracle& oracle, const AttackInput& input) const {
  const int64_t n = input.x.size(0);
  return Search(oracle, options_, input).run(n == 0 ? 0 : steps(input.x.numel() / n));
}

Jsma::Rule parse_jsma_rule(const std::string& text) {
  for (const Jsma::Rule rule : {Jsma::Rule::pair, Jsma::Rule::single, Jsma::Rule::rise})
    if (text == name_of(rule)) return rule;
  fail("jsma: rule '{}' is none of pair, single, rise", text);
}

const char* name_of(Jsma::Rule rule) {
  return rule == Jsma::Rule::pair ? "pair" : rule == Jsma::Rule::single ? "single" : "rise";
}

AttackInfo Jsma::info() {
  return {
      "jsma",
      "the best pair of features, or the best feature, step after step (Papernot et al., EuroS&P 2016; A-E7)",
      {AttackSetting::word("compat", "none", {"none", "ch20", "ch21", "ch31", "art", "ta35", "advertorch"},
                           "library whose defaults and rules hold"),
       AttackSetting::word("rule", "pair", {"pair", "single", "rise"}, "features per step"),
       AttackSetting::word("on", "probs", {"probs", "logits"}, "outputs of the saliency map"),
       AttackSetting::number("theta", 1, -1, 1, "change of a feature, not 0"),
       AttackSetting::number("gamma", 0.1, 0, 1, "largest share of features changed")},
      [](const AttackSettings& s) -> std::unique_ptr<Attack> {
        Options options = profile(s.word("compat"));
        options.rule = parse_jsma_rule(s.word("rule", name_of(options.rule)));
        options.on = parse_outputs(s.word("on", hashgrad::name_of(options.on)));
        options.theta = s.number("theta", options.theta);
        options.gamma = s.number("gamma", options.gamma);
        return std::make_unique<Jsma>(options);
      },
      {"rule=pair,theta=0.6,gamma=0.3", "rule=single,theta=0.6,gamma=0.3",
       "rule=pair,on=logits,theta=0.6,gamma=0.3", "rule=single,on=logits,theta=0.6,gamma=0.3",
       "on=logits,theta=-1,gamma=0.3", "compat=art,gamma=0.3", "compat=advertorch,theta=0.6,gamma=0.3"}};
}

}  // namespace hashgrad
