// The honest evaluation of one network: an ensemble of attacks, worst case per image, and the checks that say
// whether to believe the number.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "attacks/checks/check.h"
#include "attacks/statistics.h"

namespace hashgrad {

/// One attack of the ensemble.
struct EnsembleRow {
  std::string spec;
  Rate broken;                         // within the budget, of the images that were right before
  std::optional<double> median{};      // distance of all successes, in the threat's norm
  double forwards = 0, backwards = 0;  // mean per image
};

/// Success under one budget.
struct CurvePoint {
  double eps;
  Rate standard;  // bim on the cross-entropy, what papers report
  Rate best;      // bim on the cross-entropy, its exact direction or the margin (those also past input
                  // transforms), whichever breaks
};

struct Evaluation {
  Rate clean;   // right without attack, of all images
  Rate robust;  // right and unbroken within the budget by everything that was tried, of all images
  std::vector<EnsembleRow> ensemble;
  std::vector<CurvePoint> curve;
  std::vector<std::pair<Check, Finding>> findings;
  Verdict verdict;     // masked, if any check says so; else inconclusive, if any says so; else passed
  std::string reason;  // one sentence for people
};

/// The attacks that every evaluation runs, for this threat and number of classes. A model with input
/// transforms is attacked past them too (BPDA), and a randomised one meets specs_over_draws() over draws as
/// well, so that the number is the adaptive one.
std::vector<std::string> ensemble_specs(const Evidence& evidence);

/// Runs ensemble, curve and checks.
Evaluation evaluate_robustness(Evidence& evidence);

}  // namespace hashgrad
