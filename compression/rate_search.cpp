#include "compression/rate_search.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace hashgrad {
namespace {

/// A value's place between the smallest and the largest that one part of the score has in any trial.
class MinMax {
 public:
  MinMax(const std::vector<RateTrial>& trials, double RateScore::*part) : part_(part) {
    for (const RateTrial& trial : trials) {
      low_ = std::min(low_, trial.score.*part);
      high_ = std::max(high_, trial.score.*part);
    }
  }
  double operator()(const RateTrial& trial) const {
    return high_ > low_ ? (trial.score.*part_ - low_) / (high_ - low_) : 0;
  }

 private:
  double RateScore::*part_;
  double low_ = INFINITY, high_ = -INFINITY;
};

}  // namespace

std::vector<RatePair> rate_grid(int64_t weights_first, int64_t weights_second) {
  check(weights_first > 0 && weights_second > 0, "rate search: layers of {} and {} weights", weights_first,
        weights_second);
  const double a = static_cast<double>(weights_first), b = static_cast<double>(weights_second);
  std::vector<RatePair> grid;
  for (double first = 1 / std::sqrt(a); first > 1 / a; first /= 2)
    for (double second = 0.5; second > 1 / b; second /= 2) grid.push_back({first, second});
  return grid;
}

RatePair rate_rule(int64_t weights_first, int64_t inputs_second) {
  return {1 / (16 * std::sqrt(static_cast<double>(weights_first))), 2 / static_cast<double>(inputs_second)};
}

RateSearch search_rates(const std::vector<RatePair>& grid, const RateSearchOptions& options,
                        const std::function<RateScore(const RatePair&)>& train) {
  check(options.alpha >= 0 && options.alpha <= 1, "rate search: alpha {}, a number in [0,1] expected",
        options.alpha);
  RateSearch search;
  for (const RatePair& rates : grid) {
    const RateScore score = train(rates);
    check(std::isfinite(score.accuracy) && std::isfinite(score.g) && std::isfinite(score.phi),
          "rate search: the network at rates {} and {} has no score", rates.first, rates.second);
    search.trials.push_back({rates, score});
  }
  const MinMax g(search.trials, &RateScore::g), phi(search.trials, &RateScore::phi);
  for (size_t i = 0; i < search.trials.size(); ++i) {
    RateTrial& trial = search.trials[i];
    constexpr double rounding = 1e-9;  // of accuracies, which are quotients of counts
    if (options.accuracy - trial.score.accuracy >= options.most_loss - rounding) continue;
    trial.r = options.alpha * g(trial) + (1 - options.alpha) * phi(trial);
    if (!search.best || trial.r < search.trials[*search.best].r) search.best = i;
  }
  return search;
}

}  // namespace hashgrad
