// What the paper says, beside what was measured.
#pragma once

#include "experiments/zhao2019/study.h"

namespace hashgrad::zhao2019 {

/// One of the two figures of three panels: networks compressed more and more.
struct Panel {
  std::string figure, name, axis;
  std::vector<Variant> variants;
  double (*level)(const Variant&);  ///< place on the axis
};
Panel pruning_panel(const Setup& setup);
Panel quantisation_panel(const Setup& setup);

/// Radii of the stronger attacks: one that tells networks apart, and what IFGSM may use up.
std::vector<double> radii(const Setup& setup);
/// Right without attack and under each of the stronger attacks.
std::optional<Rate> worst_case(Experiment& experiment, const Variant& variant, double radius);

/// One sentence for each statement of the paper that the cells asked for can judge.
std::vector<std::string> findings(Experiment& experiment, const study::PaperFlags& flags);

}  // namespace hashgrad::zhao2019
