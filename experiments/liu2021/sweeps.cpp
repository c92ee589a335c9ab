// B-F3 and B-F4: how the success of an attack depends on one of its settings, on networks with and without
// softmax in the way.
#include <algorithm>

#include "experiments/liu2021/tables.h"

namespace hashgrad::liu2021 {
namespace {

using report::Plot;
using report::Series;
using report::Table;
using study::Json;

constexpr const char* trained_rows[] = {"PGD training", "hash+GI1", "hash+GI2"};

struct Sweep {
  std::string name, title, setting, attack;  // attack: with {} for the setting
  std::vector<double> values;
  double passes;
};

/// In percent, value by value of the setting; nothing where a cell was not run.
using Success = std::vector<std::optional<double>>;

struct Curve {
  std::string network, loss;
  Success success{};
};
using Curves = std::vector<Curve>;

const Success& success_of(const Curves& curves, const std::string& network, const std::string& loss) {
  for (const Curve& curve : curves)
    if (curve.network == network && curve.loss == loss) return curve.success;
  fail("liu2021: no curve of {} along {}", network, loss);
}

Curves measured(Laboratory& lab, const Sweep& s, Table& table) {
  Curves curves;
  for (const char* network : trained_rows)
    for (const char* loss : {"ce", "ce-exact"}) {
      curves.push_back({network, loss});
      std::vector<std::string> row{network, loss};
      for (const double v : s.values) {
        const std::string attack = fmt::format(fmt::runtime(s.attack), v) + ",loss=" + loss;
        const Json* values = lab.attack(network, {attack, lab.protocol.untargeted, s.passes});
        row.push_back(short_percent(values));
        curves.back().success.push_back(percent_of(values));
      }
      table.add(row);
    }
  return curves;
}

Plot plot_of(const Sweep& s, const Curves& curves) {
  Plot plot{s.name, s.title, s.setting, "success, %", {}, {}};
  for (const auto& [network, loss, success] : curves) {
    Series series{fmt::format("{}, {}", network, loss), {}, {}};
    for (size_t i = 0; i < success.size(); ++i)
      if (success[i]) series.add(s.values[i], *success[i]);
    if (!series.x.empty()) plot.series.push_back(series);
  }
  return plot;
}

/// Table, plot, and what `finding` makes of the curves.
Part sweep(Laboratory& lab, const Sweep& s, std::string (*finding)(const Curves& curves)) {
  const Protocol& p = lab.protocol;
  Table table{s.name, s.title, {"network", "direction"}, {}, {}};
  for (const double v : s.values) table.columns.push_back(fmt::format("{} {:g}", s.setting, v));
  table.note = fmt::format(
      "success as in B-T2, n = first {} images; {}. ce: the gradient that float32 gives, as published; "
      "ce-exact: without underflow. PGD training: {} steps at eps {:g}, {} epochs on {} images, from the "
      "original network.",
      p.untargeted, study::widest_interval(p.untargeted), p.pgd_steps, p.eps, p.pgd_epochs, p.pgd_images);
  const Curves curves = measured(lab, s, table);
  Part part{.tables = {table}, .findings = {finding(curves)}};
  if (Plot plot = plot_of(s, curves); !plot.series.empty()) part.plots.push_back(plot);
  return part;
}

std::string eps_finding(const Curves& curves) {
  constexpr size_t at = 3;  // eps 0.3
  const auto pgd = success_of(curves, "PGD training", "ce")[at],
             gi2 = success_of(curves, "hash+GI2", "ce")[at],
             pgd_exact = success_of(curves, "PGD training", "ce-exact")[at],
             exact = success_of(curves, "hash+GI2", "ce-exact")[at];
  if (!pgd || !gi2 || !pgd_exact || !exact) return "B-F3: not measured.";
  return fmt::format(
      "B-F3, the paper prefers hash+GI2 to PGD training at eps 0.3: FGSM finds {:.2f} % against {:.2f} %: as "
      "published, {}; along the exact direction {:.2f} % against {:.2f} %: {}.",
      *gi2, *pgd, study::verdict(*gi2 < *pgd), *exact, *pgd_exact, study::verdict(*exact < *pgd_exact));
}

/// Between the least and the most success.
std::optional<double> spread(const Success& success) {
  if (!std::all_of(success.begin(), success.end(), [](const auto& percent) { return percent.has_value(); }))
    return {};
  const auto [least, most] = std::minmax_element(success.begin(), success.end());
  return **most - **least;
}

std::string step_finding(const Curves& curves) {
  const auto pgd = spread(success_of(curves, "PGD training", "ce")),
             gi2 = spread(success_of(curves, "hash+GI2", "ce")),
             exact = spread(success_of(curves, "hash+GI2", "ce-exact"));
  if (!pgd || !gi2 || !exact) return "B-F4: not measured.";
  return fmt::format(
      "B-F4, success on hash+GI2 does not depend on alpha, that on PGD training does: it varies by {:.2f} "
      "and {:.2f} points: as published, {}; along the exact direction by {:.2f} on hash+GI2.",
      *gi2, *pgd, study::verdict(*gi2 < *pgd), *exact);
}

}  // namespace

Part success_over_eps(Laboratory& lab) {
  return sweep(lab,
               {"f3_eps",
                "FGSM over eps, MNIST: success, % (B-F3)",
                "eps",
                "fgsm:eps={}",
                {0.05, 0.1, 0.2, 0.3, 0.4, 0.5},
                2},
               eps_finding);
}

Part success_over_step(Laboratory& lab) {
  return sweep(lab,
               {"f4_step",
                "BIM over its step, MNIST: success, % (B-F4)",
                "alpha",
                fmt::format("bim:eps={},iters=10,step={{}}", lab.protocol.eps),
                {0.01, 0.03, 0.05, 0.1, 0.2, 0.3},
                20},
               step_finding);
}

}  // namespace hashgrad::liu2021
