// Which rates should the two hashed layers of a defensive hash classifier have (Liu and Wen, TNNLS 2021,
// algorithm 1): train at every pair of a grid, keep accuracy, and choose by the robustness estimator.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

namespace hashgrad {

/// Stored values per virtual weight of the last fully connected layer but one, and of the last.
struct RatePair {
  double first = 1, second = 1;
};

/// first = a^(-1/2), a^(-1/2) / 2, ... while above 1 / a; for each of them second = 1/2, 1/4, ... while above
/// 1 / b; a and b are the weights (inputs times outputs) of the two layers. The paper's listing never takes
/// second back to 1/2, so that it would search one column; its figures show the whole grid.
std::vector<RatePair> rate_grid(int64_t weights_first, int64_t weights_second);

/// The pair that the paper takes everywhere: (a^(-1/2) / 16, 2 / inputs of the last layer).
RatePair rate_rule(int64_t weights_first, int64_t inputs_second);

/// What became of a network with one pair of rates: test accuracy in [0,1], and the estimator's parts
/// (attacks/estimator.h).
struct RateScore {
  double accuracy = 0, g = 0, phi = 0;
};

struct RateSearchOptions {
  double accuracy = 0;      ///< of the network without hashing, in [0,1]
  double alpha = 0.5;       ///< weight of g in R, in [0,1]
  double most_loss = 0.01;  ///< a pair must lose less accuracy than this
};

struct RateTrial {
  RatePair rates;
  RateScore score;
  /// alpha g + (1 - alpha) phi of g and phi brought to [0,1]; 1 where too much accuracy is lost.
  double r = 1;
};

struct RateSearch {
  std::vector<RateTrial> trials;  ///< in the order of the grid
  std::optional<size_t> best;  ///< smallest r, the first of equals, of those accurate enough; none if none is
};

/// Trains at every pair and compares: g and phi are taken to [0,1] from their smallest to their largest value
/// over all trials (to 0 if they are all the same). Errors: alpha outside [0,1], scores that are not numbers.
RateSearch search_rates(const std::vector<RatePair>& grid, const RateSearchOptions& options,
                        const std::function<RateScore(const RatePair&)>& train);

}  // namespace hashgrad
