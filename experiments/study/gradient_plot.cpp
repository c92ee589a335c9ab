#include "experiments/study/gradient_plot.h"

#include <cmath>
#include <fmt/format.h>

namespace hashgrad::study {
namespace {

constexpr int bin = 5;  // decades; the last bin below 1 ends there

}  // namespace

report::Plot gradient_plot(const std::string& name, const std::string& title) {
  std::vector<std::string> bins = {"0", "< 1e-45"};
  for (int d = GradientHistogram::first_decade; d < 0; d += bin) bins.push_back(fmt::format("1e{}", d));
  bins.push_back(">= 1");
  return {name, title, "bins of five decades, zeros apart", "images, %", {}, bins};
}

void add_bars(report::Plot& plot, const std::string& label, const GradientHistogram& h) {
  const double all_larger = std::pow(10.0, GradientHistogram::last_decade + 1);
  report::Series bars{label, {}, {100 * h.zero_share().value(), 100 * Rate{h.below, h.images}.value()}};
  for (int d = GradientHistogram::first_decade; d < 0; d += bin)
    bars.y.push_back(100 * h.between(std::pow(10.0, d), std::pow(10.0, d + bin)).value());
  bars.y.push_back(100 * h.between(1, all_larger).value());
  plot.series.push_back(bars);
}

}  // namespace hashgrad::study
