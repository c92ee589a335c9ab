// B-F2: how large the derivatives of loss, probabilities and logits are, under gradient inhibition.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "experiments/liu2021/tables.h"
#include "experiments/study/gradient_plot.h"

namespace hashgrad::liu2021 {
namespace {

using study::Json;

constexpr const char* derivatives[] = {"loss", "probs", "logits"};

/// What the paper shows, of the loss and of the logits, read off its histograms.
struct Row {
  const char *network, *loss, *logits;
};
constexpr Row rows[] = {{"original", "~0 (66 in (1e-20, 1e-10])", "~21"},
                        {"GI1", "~97", "~69"},
                        {"GI2", "~99", "~87"},
                        {"GI3", "~97", "~65"}};

/// Of the numbers of images that a cell keeps: zeros, those below all decades, then decade by decade.
GradientHistogram histogram_of(const Json& decades) {
  const auto counts = decades.get<std::vector<int64_t>>();
  return {.images = std::accumulate(counts.begin(), counts.end(), int64_t{0}),
          .zeros = counts.at(0),
          .below = counts.at(1),
          .counts = {counts.begin() + 2, counts.end()}};
}

/// Shares in percent.
double between(const GradientHistogram& h, double low, double high) {
  return 100 * h.between(low, high).value();
}
double below_1e_40(const GradientHistogram& h) {
  const double least = std::pow(10.0, GradientHistogram::first_decade);
  return 100 * Rate{h.zeros + h.below + h.between(least, 1e-40).hits, h.images}.value();
}

report::Plot plot_of(Laboratory& lab, const char* derivative) {
  report::Plot plot = study::gradient_plot(fmt::format("f2_{}", derivative),
                                           fmt::format("Mean |d {} / d x|, MNIST (B-F2)", derivative));
  for (const Row& row : rows)
    if (const Json* values = lab.gradients(row.network))
      study::add_bars(plot, row.network, histogram_of(values->at(derivative)));
  return plot;
}

std::string finding_of(const std::vector<double>& underflow) {
  if (underflow.size() < std::size(rows)) return "B-F2: not measured.";
  const double least = *std::min_element(underflow.begin() + 1, underflow.end());
  return fmt::format(
      "B-F2: gradient inhibition moves at least {:.2f} % of the loss gradients below 1e-40 (original: {:.2f} "
      "%; paper: 97 %): {}. Below 1.2e-38 float32 underflows.",
      least, underflow[0], verdict(least - underflow[0], 97));
}

}  // namespace

Part gradient_histograms(Laboratory& lab) {
  report::Table table{
      "f2_gradients",
      "Mean absolute derivatives, MNIST, % of images (B-F2)",
      {"network", "loss: (1e-20, 1e-10]", "loss: [0, 1e-40]", "paper", "of it exactly 0", "probs: [0, 1e-40]",
       "logits: (1e-1, 1]", "paper, logits"},
      {},
      fmt::format("n = {}; loss: d ce / d x; probs, logits: all classes together. GI3: one draw.",
                  lab.protocol.gradients)};
  std::vector<double> underflow;  // of the loss
  for (const Row& row : rows) {
    const Json* values = lab.gradients(row.network);
    const auto shown = [&](const char* derivative, const auto& share) {
      return values ? fmt::format("{:.2f}", share(histogram_of(values->at(derivative))))
                    : std::string(study::not_run);
    };
    const auto zero = [](const GradientHistogram& h) { return 100 * h.zero_share().value(); };
    table.add({row.network, shown("loss", [](const auto& h) { return between(h, 1e-20, 1e-10); }),
               shown("loss", below_1e_40), row.loss, shown("loss", zero), shown("probs", below_1e_40),
               shown("logits", [](const auto& h) { return between(h, 1e-1, 1); }), row.logits});
    if (values) underflow.push_back(below_1e_40(histogram_of(values->at("loss"))));
  }
  Part part{.tables = {table}, .findings = {finding_of(underflow)}};
  for (const char* derivative : derivatives)
    if (report::Plot plot = plot_of(lab, derivative); !plot.series.empty()) part.plots.push_back(plot);
  return part;
}

}  // namespace hashgrad::liu2021
