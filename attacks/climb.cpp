#include "attacks/climb.h"

#include <limits>

#include "attacks/rows.h"

namespace hashgrad {
namespace {

class Loop {
 public:
  Loop(const Oracle& oracle, const AttackInput& input, const ClimbRule& rule)
      : oracle_(oracle),
        rule_(rule),
        early_stop_(rule.early_stop && oracle.decides()),
        out_(input.x),
        live_(participants(input)),
        x_(live_.input().x),
        best_(live_.size(), -std::numeric_limits<double>::infinity()) {}

  Crafted run() {
    for (int64_t taken = 0; taken <= rule_.iters && !live_.empty(); ++taken) iterate(taken);
    return std::move(out_);
  }

 private:
  LiveRows participants(const AttackInput& input) {
    const CleanPass clean = judge_clean(oracle_, input, out_);
    return early_stop_ ? LiveRows(input, clean.open) : LiveRows(input);
  }

  /// Judges the iterates after `taken` steps and moves those that go on.
  void iterate(int64_t taken) {
    const Goal goal = live_.goal();
    const bool last = taken == rule_.iters;
    LossGradient pass = last ? oracle_.height(x_, goal, rule_.loss) : oracle_.ascent(x_, goal, rule_.loss);
    if (early_stop_) oracle_.confirm(x_, goal, rule_.loss, pass);
    Tensor direction;
    std::vector<Status> blocked(live_.size(), Status::max_iter);
    if (!last) {
      const Tensor gradient = pass.gradient.to(Device{});
      direction = rule_.direction(gradient, memory_);
      blocked = obstacles(gradient, direction);
    }
    const std::vector<int64_t> predictions = predictions_of(pass.logits);
    const std::vector<double> values = pass.value.to(DType::float64).to_vector<double>();
    std::vector<int64_t> going_on;
    for (size_t i = 0; i < live_.size(); ++i) {
      const bool success = goal.reached(static_cast<int64_t>(i), predictions[i]);
      const bool stop = blocked[i] != Status::ok || (success && early_stop_);
      book(i, taken, success, stop, values[i]);
      out_.backwards[live_.row(i)] += !last;
      if (stop)
        end(live_.row(i), success ? Status::ok : blocked[i]);
      else
        going_on.push_back(static_cast<int64_t>(i));
    }
    live_.keep(going_on, x_, memory_, direction, best_);
    if (!live_.empty()) x_ = rule_.move(x_, direction, live_.input().x);
  }

  /// Counts the pass, and keeps the iterate if it is the one to return.
  void book(size_t i, int64_t taken, bool success, bool stop, double value) {
    const size_t row = live_.row(i);
    ++out_.forwards[row];
    if (success && out_.first_success[row] < 0) out_.first_success[row] = taken;
    if (early_stop_ ? !(success || value > best_[i]) : !stop) return;
    best_[i] = value;
    scatter(out_.x_adv, {live_.rows()[i]}, gather(x_, {static_cast<int64_t>(i)}));
  }

  void end(size_t row, Status status) {
    if (out_.status[row] != Status::already_wrong) out_.status[row] = status;
  }

  const Oracle& oracle_;
  const ClimbRule& rule_;
  const bool early_stop_;
  Crafted out_;
  LiveRows live_;
  Tensor x_;                  // iterates of the live rows, [rows,C,H,W]
  Tensor memory_;             // see ClimbRule::direction
  std::vector<double> best_;  // largest loss of each live row so far
};

}  // namespace

Crafted climb(const Oracle& oracle, const AttackInput& input, const ClimbRule& rule) {
  return Loop(oracle, input, rule).run();
}

}  // namespace hashgrad
