// Figures 3 and 6: what hashing does to a network that nobody attacks.
#include <map>

#include "experiments/liu2018/figures.h"

namespace hashgrad::liu2018 {
namespace {

using report::Plot;
using report::Series;
using report::Table;

constexpr double most_loss = 0.5;  // points of accuracy that pass for none

/// A-F3, %; 1/16 and 1/32 by their order there.
const std::map<std::string, double> paper_accuracy{{"uncompressed", 99.29},
                                                   {"HashNet(1/8)", 99.25},
                                                   {"HashNet(1/16)", 99.23},
                                                   {"HashNet(1/32)", 99.19},
                                                   {"HashNet(1/64)", 99.13}};
/// A-F6: range of the weights against that of the uncompressed network.
const std::map<std::string, double> paper_growth{
    {"uncompressed", 1}, {"HashNet(1/16)", 2}, {"HashNet(1/64)", 4}};

std::string paper(const std::map<std::string, double>& numbers, const std::string& subject) {
  const auto found = numbers.find(subject);
  return found == numbers.end() ? "-" : fmt::format("{:g}", found->second);
}

std::string accuracy_finding(Experiment& e) {
  const std::string claim =
      fmt::format("A-F3: hashing costs less than {:g} points of accuracy (paper: 0.16 at 1/64).", most_loss);
  double first = 0, most = -100;
  std::string worst;
  for (const Subject& s : e.setup().subjects) {
    const std::optional<Rate> accuracy = e.accuracy(s, {}, e.setup().tested);
    if (!accuracy) return study::unjudged(claim);
    if (s.rate == 0) first = accuracy->value();
    const double loss = 100 * (first - accuracy->value());
    if (s.rate > 0 && loss > most) most = loss, worst = s.name;
  }
  return study::finding(claim, fmt::format("{:.2f} points, of {}", most, worst), most < most_loss);
}

double share_of_bin(const WeightHistogram& h, size_t bin) {
  return 100 * Rate{h.counts[bin], h.weights}.value();
}

Plot weight_plot(Experiment& e) {
  Plot plot{"f6_weights", "Weights (A-F6)", "weight", "weights, %", {}, {}};
  for (const Subject& s : e.setup().subjects) {
    const std::optional<WeightHistogram> h = e.weights(s);
    if (!h || !paper_growth.contains(s.name)) continue;
    Series series{s.name, {}, {}};
    for (size_t bin = 0; bin < h->counts.size(); ++bin) {
      const double middle = static_cast<double>(bin) + 0.5;
      series.add(middle * WeightHistogram::width - WeightHistogram::edge, share_of_bin(*h, bin));
    }
    plot.series.push_back(series);
  }
  return plot;
}

std::string growth_finding(Experiment& e, const Subject& s, double growth) {
  const std::string claim =
      fmt::format("A-F6: the weights of {} range {:g} times as far as those of the uncompressed network.",
                  s.name, growth);
  const std::optional<WeightHistogram> plain = e.weights(e.setup().subjects[0]), hashed = e.weights(s);
  if (!plain || !hashed) return study::unjudged(claim);
  const double found = hashed->range / plain->range;
  return study::finding(claim,
                        fmt::format("{:.2f} times, {:.3f} against {:.3f} (largest weights: {:.2f} times)",
                                    found, hashed->range, plain->range, hashed->largest / plain->largest),
                        half_of(found - 1, growth - 1));
}

}  // namespace

study::Part clean_accuracy(Experiment& e) {
  Table table{
      "f3_accuracy", "Clean accuracy, % (A-F3)", {"network", "parameters", "accuracy", "paper"}, {}, {}};
  for (const Subject& s : e.setup().subjects)
    table.add({s.name, std::to_string(parameter_count(s.spec())),
               study::shown(e.accuracy(s, {}, e.setup().tested)), paper(paper_accuracy, s.name)});
  table.note = fmt::format("n = {}; brackets: 95 % Wilson interval.", e.setup().tested);
  return {.tables = {table}, .findings = {accuracy_finding(e)}};
}

study::Part weights(Experiment& e) {
  Table table{"f6_weights",
              "Range of the weights (A-F6)",
              {"network", "weights", "99.9 % within", "ratio", "paper", "largest", "ratio of largest"},
              {},
              "Of all layers, those of hashed layers as a forward pass sees them; ratio: to the uncompressed "
              "network. The paper's ranges are read off its histograms: +-0.1 uncompressed, +-0.4 at 1/64."};
  const std::optional<WeightHistogram> plain = e.weights(e.setup().subjects[0]);
  study::Part part;
  for (const Subject& s : e.setup().subjects) {
    const std::optional<WeightHistogram> h = e.weights(s);
    if (h && plain)
      table.add({s.name, std::to_string(h->weights), fmt::format("{:.4f}", h->range),
                 fmt::format("{:.2f}", h->range / plain->range), paper(paper_growth, s.name),
                 fmt::format("{:.4f}", h->largest), fmt::format("{:.2f}", h->largest / plain->largest)});
    else
      table.add({s.name, study::not_run, study::not_run, study::not_run, paper(paper_growth, s.name),
                 study::not_run, study::not_run});
    if (s.rate > 0 && paper_growth.contains(s.name))
      part.findings.push_back(growth_finding(e, s, paper_growth.at(s.name)));
  }
  part.tables.push_back(table);
  part.plots.push_back(weight_plot(e));
  return part;
}

}  // namespace hashgrad::liu2018
