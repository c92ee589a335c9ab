// The searches for c in min distance + c * max(0, kappa - lead), after Carlini and Wagner (S&P 2017). Rows
// share nothing, not even the step they are in.
#pragma once

#include <cstdint>
#include <limits>
#include <string>

#include "attacks/registry.h"

namespace hashgrad {

struct ConstantOptions {
  double c0;                 // the first c
  int64_t c_steps;           // values of c
  int64_t iters;             // for each of them
  bool abort_early = false;  // leave a c of which a tenth of the iterations gained less than a ten-thousandth
};
/// An Error that opens with `attack` unless c0 is in (0, 1e10] and the counts in [1, 1000000].
void validate(const ConstantOptions& options, const std::string& attack);
AttackSetting abort_early_setting(bool fallback);

/// Where one row is in the search of the L2 attack: c grows tenfold until the goal is reached, then it is
/// bisected. Every step starts from the image; with ten or more the last one repeats the smallest c that
/// succeeded.
struct BisectedConstant {
  double c;
  double lower = 0, upper = 1e10;                                  // c failed and succeeded here
  int64_t step = 0;                                                // values of c that are done with
  int64_t iter = 0;                                                // iteration under this one
  bool found = false;                                              // the goal was reached under this c
  double previous_loss = std::numeric_limits<double>::infinity();  // at the last check

  /// The loss of this iteration tells that the step may as well end here.
  bool stalled(const ConstantOptions& options, double loss);
  /// This was the step's last iteration.
  bool last(const ConstantOptions& options) const { return iter + 1 == options.iters; }
  /// Goes on to the next c; false if there is none.
  bool next_step(const ConstantOptions& options);
};

/// Where one row is in the search of the L0 and Linf attacks: c doubles when `iters` iterations did not solve
/// the problem, which goes on where it is; a solution makes the problem harder and keeps c.
struct DoubledConstant {
  double c;
  int64_t step = 0;   // values of c that are done with
  int64_t iter = 0;   // iterations under this one
  int64_t taken = 0;  // steps of the optimiser since the last solution

  void solved() { iter = taken = 0; }
  /// Counts an iteration without solution; false if c has run out.
  bool unsolved(const ConstantOptions& options);
};

}  // namespace hashgrad
