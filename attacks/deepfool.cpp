#include "attacks/deepfool.h"

#include <algorithm>
#include <cmath>

#include "attacks/boundaries.h"
#include "attacks/rows.h"
#include "attacks/target.h"
#include "core/parallel.h"

namespace hashgrad {
namespace {

/// Every way is this much longer, in pixels, as in the authors' code. Overshoot is a share of the way, and
/// where the box cuts the perturbation the ways that are left become as short as rounding: a row would cross
/// by the last bit of a logit, and in another arithmetic not at all.
constexpr double past_the_boundary = 1e-4;

/// The rows on their way to a boundary; one that has crossed leaves.
class Walk {
 public:
  Walk(const Oracle& oracle, const DeepFool::Options& options, const AttackInput& input)
      : oracle_(oracle),
        options_(options),
        out_(input.x),
        live_(input, judge_clean(oracle, input, out_).open),
        x_(live_.input().x),
        r_(Tensor::zeros(x_.shape(), DType::float64)) {
    const int64_t classes = std::min(options.candidates, oracle.model().classes());
    count_ = input.goal().targeted() ? 1 : classes - 1;
  }

  Crafted run() {
    for (int64_t taken = 0; taken <= options_.iters && !live_.empty(); ++taken)
      taken < options_.iters ? iterate(taken) : judge_last();
    return std::move(out_);
  }

 private:
  std::vector<ClassPair> pairs(int64_t row, const std::vector<double>& logits) const {
    const Goal goal = live_.goal();
    if (goal.targeted()) {
      const int64_t target = goal.targets.data<int64_t>()[row];
      return {{target, by_logit(logits, target)[0]}};
    }
    const int64_t label = goal.labels.data<int64_t>()[row];
    std::vector<ClassPair> result;
    for (const int64_t k : by_logit(logits, label)) result.push_back({k, label});
    result.resize(static_cast<size_t>(count_), {0, 0});
    return result;
  }

  /// Judges the iterates after `taken` steps and moves those that go on.
  void iterate(int64_t taken) {
    const Boundaries near =
        boundaries(oracle_, x_, count_,
                   [&](int64_t row, const std::vector<double>& logits) { return pairs(row, logits); });
    const std::vector<int64_t> predictions = predictions_of(near.logits);
    std::vector<uint8_t> moved(live_.size(), 0);
    parallel_for(static_cast<int64_t>(live_.size()), [&](int64_t i) {
      const size_t at = static_cast<size_t>(i);
      if (!live_.goal().reached(i, predictions[at])) moved[at] = move(near, i);
    });
    const Tensor images = options_.cleverhans ? place(options_.overshoot) : x_;
    std::vector<int64_t> going_on;
    for (size_t i = 0; i < live_.size(); ++i) {
      const size_t row = live_.row(i);
      ++out_.forwards[row];
      out_.backwards[row] += count_;
      if (moved[i])
        going_on.push_back(static_cast<int64_t>(i));
      else if (live_.goal().reached(static_cast<int64_t>(i), predictions[i]))
        finish(i, images, taken, Status::ok);
      else
        finish(i, images, taken, near.why_none(static_cast<int64_t>(i)));
    }
    live_.keep(going_on, x_, r_);
    x_ = place(options_.cleverhans ? 0 : options_.overshoot);
  }

  void judge_last() {
    const std::vector<int64_t> predictions = predictions_of(oracle_.exact_logits(x_));
    const Tensor images = options_.cleverhans ? place(options_.overshoot) : x_;
    for (size_t i = 0; i < live_.size(); ++i) {
      ++out_.forwards[live_.row(i)];
      const bool success = live_.goal().reached(static_cast<int64_t>(i), predictions[i]);
      finish(i, success ? images : x_, options_.iters, success ? Status::ok : Status::max_iter);
    }
  }

  /// Adds the way to the nearest boundary to row i of r; false if there is none.
  bool move(const Boundaries& near, int64_t i) {
    return for_float_type(x_.dtype(), "deepfool", [&]<class T>() {
      const int64_t n = row_size(x_);
      const double slack = options_.cleverhans ? 1e-5 : 0, past = options_.cleverhans ? 0 : past_the_boundary;
      const auto plane = nearest<T>(near, i, options_.norm, slack);
      if (!plane) return false;
      const double distance = (std::abs(plane->gap) + slack) / plane->dual + past;
      double* r = r_.data<double>() + i * n;
      for (int64_t j = 0; j < n; ++j) {
        const double w = static_cast<double>(plane->normal[j]);
        r[j] += distance * (options_.norm == Norm::linf ? (w > 0) - (w < 0) : w / plane->dual);
      }
      return true;
    });
  }

  /// clip(x_0 + (1 + overshoot) r), of the live rows.
  Tensor place(double overshoot) const {
    const Tensor& origin = live_.input().x;
    Tensor result = Tensor::empty(origin.shape(), origin.dtype());
    for_float_type(origin.dtype(), "deepfool", [&]<class T>() {
      const T* x = origin.data<T>();
      const double* r = r_.data<double>();
      for (int64_t i = 0; i < origin.numel(); ++i)
        result.data<T>()[i] =
            static_cast<T>(std::clamp(static_cast<double>(x[i]) + (1 + overshoot) * r[i], 0.0, 1.0));
    });
    return result;
  }

  /// Row i ends after `taken` steps, with its image among `images` [rows,C,H,W].
  void finish(size_t i, const Tensor& images, int64_t taken, Status status) {
    scatter(out_.x_adv, {live_.rows()[i]}, gather(images, {static_cast<int64_t>(i)}));
    out_.status[live_.row(i)] = status;
    if (status == Status::ok) out_.first_success[live_.row(i)] = taken;
  }

  const Oracle& oracle_;
  const DeepFool::Options& options_;
  Crafted out_;
  LiveRows live_;
  Tensor x_;       // iterates of the live rows, [rows,C,H,W]
  Tensor r_;       // their perturbations before overshoot and clipping, float64
  int64_t count_;  // boundaries looked at per row
};

}  // namespace

DeepFool::DeepFool(Options options) : options_(options) {
  validate(Threat{.norm = options_.norm}, "deepfool");
  check(options_.candidates >= 2, "deepfool: candidates = {}, at least 2 expected", options_.candidates);
  check(options_.overshoot >= 0 && options_.overshoot <= 1e30,
        "deepfool: overshoot = {}, a number in [0, 1e30] expected", options_.overshoot);
  validate_count(options_.iters, "iters", "deepfool");
}

std::string DeepFool::repr() const {
  return fmt::format(
      "DeepFool({{.norm = Norm::{}, .candidates = {}, .overshoot = {}, .iters = {}, .cleverhans = {}}})",
      name_of(options_.norm), options_.candidates, options_.overshoot, options_.iters, options_.cleverhans);
}

Crafted DeepFool::craft(const Oracle& oracle, const AttackInput& input) const {
  return Walk(oracle, options_, input).run();
}

AttackInfo DeepFool::info() {
  return {"deepfool",
          "to the nearest linearised boundary, until it is crossed (Moosavi-Dezfooli et al., CVPR 2016)",
          {norm_setting("l2"),
           AttackSetting::integer("candidates", 10, 2, 1'000'000,
                                  "classes with the largest logits, the label's too"),
           AttackSetting::number("overshoot", 0.02, 0, 1e30, "share that is added to the perturbation"),
           iters_setting(50),
           AttackSetting::word("compat", "none", {"none", "ch21"}, "rules of another library")},
          [](const AttackSettings& s) -> std::unique_ptr<Attack> {
            return std::make_unique<DeepFool>(Options{.norm = parse_norm(s.word("norm")),
                                                      .candidates = s.integer("candidates"),
                                                      .overshoot = s.number("overshoot"),
                                                      .iters = s.integer("iters"),
                                                      .cleverhans = s.word("compat") == "ch21"});
          },
          {"iters=30", "norm=linf,candidates=3,iters=30", "compat=ch21,iters=8"}};
}

}  // namespace hashgrad
