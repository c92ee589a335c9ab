// Figures 4 and 5: HFGSM and HJSMA by the paper's attack method, on a network and its HashNets.
#include <algorithm>
#include <cmath>

#include "experiments/liu2018/figures.h"

namespace hashgrad::liu2018 {
namespace {

using report::Plot;
using report::Series;
using report::Table;

/// Success of each subject, budget by budget.
struct Curves {
  std::string figure, axis;
  std::vector<std::string> names;
  std::vector<double> budgets;
  std::vector<std::optional<std::vector<Rate>>> rates;

  bool whole() const {
    return std::all_of(rates.begin(), rates.end(), [](const auto& curve) { return curve.has_value(); });
  }
  /// Of a subject at a budget.
  std::optional<Rate> at(size_t subject, size_t budget) const {
    if (!rates[subject]) return std::nullopt;
    return (*rates[subject])[budget];
  }
};

Curves hfgsm_curves(Experiment& e) {
  Curves curves{"A-F4", "eps", {}, e.setup().eps, {}};
  for (const Subject& s : e.setup().subjects) {
    const std::optional<Attacked> attacked = e.hfgsm(s, {}, "ce", e.setup().attacked);
    curves.names.push_back(s.name);
    curves.rates.push_back(attacked ? std::optional(attacked->grown) : std::nullopt);
  }
  return curves;
}

Curves hjsma_curves(Experiment& e) {
  Curves curves{"A-F5", "number of elements", {}, e.setup().elements, {}};
  for (const Subject& s : e.setup().subjects) {
    curves.names.push_back(s.name);
    curves.rates.push_back(e.hjsma(s));
  }
  return curves;
}

std::string below_finding(const Curves& c) {
  const std::string claim =
      fmt::format("{}: every HashNet is below the uncompressed network at every {}.", c.figure, c.axis);
  if (!c.whole()) return study::unjudged(claim);
  size_t below = 0, apart = 0, all = 0;
  for (size_t s = 1; s < c.rates.size(); ++s)
    for (size_t b = 0; b < c.budgets.size(); ++b, ++all) {
      below += c.at(s, b)->value() < c.at(0, b)->value();
      apart += study::change(*c.at(0, b), *c.at(s, b)) == study::Change::falls;
    }
  return study::finding(
      claim, fmt::format("{} of {} points are, {} by more than their intervals", below, all, apart),
      below == all);
}

std::string order_finding(const Curves& c) {
  const std::string claim =
      fmt::format("{}: the higher the compression, the lower the success, at every {}.", c.figure, c.axis);
  if (!c.whole()) return study::unjudged(claim);
  size_t ordered = 0;
  for (size_t b = 0; b < c.budgets.size(); ++b) {
    bool falls = true;
    for (size_t s = 1; s < c.rates.size(); ++s)
      falls = falls && c.at(s, b)->value() < c.at(s - 1, b)->value();
    ordered += falls;
  }
  return study::finding(claim, fmt::format("at {} of {}", ordered, c.budgets.size()),
                        ordered == c.budgets.size());
}

std::string reduction_finding(const Curves& c) {
  const std::string claim = "A-F4: HashNets lower the success by at most 30 points.";
  if (!c.whole()) return study::unjudged(claim);
  double most = 0;
  for (size_t s = 1; s < c.rates.size(); ++s)
    for (size_t b = 0; b < c.budgets.size(); ++b)
      most = std::max(most, 100 * (c.at(0, b)->value() - c.at(s, b)->value()));
  return study::finding(claim, fmt::format("{:.2f} points", most), most <= 30);
}

std::string anchor_finding(const Curves& c) {
  const std::string claim = fmt::format(
      "A-F4: at eps {:g} success is 95.81 % on the uncompressed network and 87.99 % in the mean of five (5 "
      "points more or less pass).",
      c.budgets.back());
  if (!c.whole()) return study::unjudged(claim);
  const size_t last = c.budgets.size() - 1;
  const double plain = 100 * c.at(0, last)->value();
  double mean = 0;
  for (size_t s = 0; s < c.rates.size(); ++s) mean += 100 * c.at(s, last)->value();
  mean /= static_cast<double>(c.rates.size());
  return study::finding(
      claim, fmt::format("{} % and {:.2f} % (mean of {})", study::shown(c.at(0, last)), mean, c.rates.size()),
      std::abs(plain - 95.81) <= 5 && std::abs(mean - 87.99) <= 5);
}

Plot curve_plot(const Curves& c, const std::string& name, const std::string& title) {
  Plot plot{name, title, c.axis, "success, %", {}, {}};
  for (size_t s = 0; s < c.rates.size(); ++s) {
    if (!c.rates[s]) continue;
    Series series{c.names[s], c.budgets, {}};
    for (const Rate& rate : *c.rates[s]) series.y.push_back(100 * rate.value());
    plot.series.push_back(series);
  }
  return plot;
}

Table hfgsm_table(Experiment& e) {
  Table table{"f4_hfgsm", "HFGSM success, %, over eps (A-F4)", {"network"}, {}, {}};
  for (const double eps : e.setup().eps) table.columns.push_back(fmt::format("eps {:g}", eps));
  table.columns.push_back("paper at 0.5");
  for (const Subject& s : e.setup().subjects) {
    const std::optional<Attacked> attacked = e.hfgsm(s, {}, "ce", e.setup().attacked);
    std::vector<std::string> grown{s.name + ", grown"}, fixed{s.name + ", fixed eps"};
    for (size_t i = 0; i < e.setup().eps.size(); ++i) {
      grown.push_back(short_percent(attacked ? std::optional(attacked->grown[i]) : std::nullopt));
      fixed.push_back(short_percent(attacked ? std::optional(attacked->fixed[i]) : std::nullopt));
    }
    grown.push_back(s.rate == 0 ? "95.81" : "-");
    fixed.push_back("-");
    table.add(grown);
    table.add(fixed);
  }
  table.note = "grown: at this or any smaller eps, as the paper counts; " + width_note(e.setup().attacked);
  return table;
}

Table hjsma_table(const Curves& c, int64_t n) {
  Table table{
      "f5_hjsma", "HJSMA success, %, over the number of elements set to 1 (A-F5)", {"elements"}, {}, {}};
  for (const std::string& name : c.names) table.columns.push_back(name);
  for (size_t b = 0; b < c.budgets.size(); ++b) {
    std::vector<std::string> row{fmt::format("{:g}", c.budgets[b])};
    for (size_t s = 0; s < c.rates.size(); ++s) row.push_back(short_percent(c.at(s, b)));
    table.add(row);
  }
  table.note = "grown; target: the runner-up class; the paper shows curves only; " + width_note(n);
  return table;
}

/// A picture of what an attack does to the uncompressed network.
std::vector<study::Picture> pictured(Experiment& e, const Gallery& gallery) {
  const std::optional<std::string> png = e.picture(e.setup().subjects[0], gallery);
  if (!png) return {};
  return {{gallery.name, gallery.caption, *png}};
}

}  // namespace

study::Part hfgsm(Experiment& e) {
  const Curves curves = hfgsm_curves(e);
  const Gallery gallery{.name = "uncompressed_hfgsm",
                        .caption =
                            "The uncompressed network, HFGSM at eps 0.3: originals, what was added "
                            "(amplified; gray is zero), results.",
                        .loss = "ce",
                        .budget = 0.3};
  return {.tables = {hfgsm_table(e)},
          .plots = {curve_plot(curves, "f4_hfgsm", "HFGSM, eps grown (A-F4)")},
          .findings = {below_finding(curves), order_finding(curves), reduction_finding(curves),
                       anchor_finding(curves)},
          .pictures = pictured(e, gallery)};
}

study::Part hjsma(Experiment& e) {
  const Curves curves = hjsma_curves(e);
  const Gallery gallery{
      .name = "uncompressed_hjsma",
      .caption = "The uncompressed network, HJSMA with 40 elements: originals, what was added, results.",
      .budget = 40};
  return {.tables = {hjsma_table(curves, e.setup().attacked)},
          .plots = {curve_plot(curves, "f5_hjsma", "HJSMA (A-F5)")},
          .findings = {below_finding(curves), order_finding(curves)},
          .pictures = pictured(e, gallery)};
}

}  // namespace hashgrad::liu2018
