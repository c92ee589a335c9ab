// The tables and figures of Liu and Wen, "Model compression hardens deep neural networks: a new perspective
// to prevent adversarial attacks" (TNNLS 2021), the paper's numbers beside ours, and what follows from them.
// Each function asks the laboratory for all its cells, whatever the answers are (see study::Study::ask).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "experiments/liu2021/laboratory.h"
#include "experiments/report/plot.h"
#include "experiments/report/table.h"
#include "experiments/study/outcomes.h"

namespace hashgrad::liu2021 {

using study::Part;

Part clean_accuracy(Laboratory& lab);         ///< B-T1
Part white_box(Laboratory& lab);              ///< B-T2
Part black_box(Laboratory& lab);              ///< B-T3
Part input_transformations(Laboratory& lab);  ///< B-T4
Part residual_accuracy(Laboratory& lab);      ///< B-T5
Part residual_white_box(Laboratory& lab);     ///< B-T6
Part other_compression(Laboratory& lab);      ///< B-T7
Part rate_search(Laboratory& lab);            ///< algorithm 1
Part decision_surface(Laboratory& lab);       ///< B-F1
Part gradient_histograms(Laboratory& lab);    ///< B-F2
Part success_over_eps(Laboratory& lab);       ///< B-F3
Part success_over_step(Laboratory& lab);      ///< B-F4

/// One column of the paper's tables: an attack as published.
struct Column {
  const char* name;
  Attempt attempt;
};
/// FGSM, BIM, MIM, JSMA-F, JSMA-Z, C&W, EAD, BPDA; without JSMA where the protocol has none.
std::vector<Column> published(const Protocol& protocol);
/// The column of that name.
Attempt published(const Protocol& protocol, const std::string& name);

// Attacks that are not misled by softmax, for the adaptive columns.
Attempt exact_bim(const Protocol& protocol);       ///< the paper's BIM, exact direction of its loss
Attempt bim_over_draws(const Protocol& protocol);  ///< the same over 20 draws, all its steps
/// C&W on the network of mean weights, by a tenth of the median lead, judged on the randomised one.
Attempt cw_on_mean(const Protocol& protocol, const std::string& gi3);

/// "100 images that are right x every other class": what targeted attacks are made on, and aim at.
std::string targets_of(const Protocol& protocol);
/// A share in percent; none when the cell was not run, or has counted no image.
std::optional<double> percent_of(const study::Json* values, const char* name = "success");
/// "98.77", "not run", or "-" of no image.
std::string short_percent(const study::Json* values, const char* name = "success");
/// An effect is said to hold when it is at least half as large as the paper's.
std::string verdict(double effect, double paper);

}  // namespace hashgrad::liu2021
