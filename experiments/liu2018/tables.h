// The study's numbers in the shape of the paper's figures, with the paper's numbers beside ours.
#pragma once

#include <string>
#include <vector>

#include "experiments/liu2018/study.h"
#include "experiments/report/plot.h"
#include "experiments/report/table.h"

namespace hashgrad::liu2018 {

using Results = std::vector<NetworkResult>;

report::Table accuracy_table(const Results& results);  ///< A-F3
report::Table hfgsm_table(const Results& results);     ///< A-F4: grown and at fixed eps
report::Table hjsma_table(const Results& results);     ///< A-F5
report::Table inhibition_table(
    const Results& results);  ///< A-F10a, with zero gradients and the exact direction
report::Table gradient_table(const Results& results);  ///< A-F7 and A-F9

/// These five, for people.
std::vector<report::Table> shown_tables(const Results& results);
/// For programs: every success of every attack with its count and interval, and every decade of the gradient
/// histograms.
std::vector<report::Table> data_tables(const Results& results);
std::vector<report::Plot> all_plots(const Results& results);

/// How success is counted everywhere in the study, in one sentence.
extern const char* const success_definition;

}  // namespace hashgrad::liu2018
