// How large input gradients are, as a figure: the share of images in bins of five decades, exact zeros apart.
#pragma once

#include <string>

#include "attacks/statistics.h"
#include "experiments/report/plot.h"

namespace hashgrad::study {

/// Without bars yet.
report::Plot gradient_plot(const std::string& name, const std::string& title);
/// One set of bars: the shares of the images, in percent.
void add_bars(report::Plot& plot, const std::string& label, const GradientHistogram& histogram);

}  // namespace hashgrad::study
