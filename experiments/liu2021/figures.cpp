#include <algorithm>

#include "compression/rate_search.h"
#include "experiments/liu2021/networks.h"
#include "experiments/liu2021/tables.h"

namespace hashgrad::liu2021 {
namespace {

using report::Plot;
using report::Series;
using report::Table;
using study::Json;

// Algorithm 1

RateScore score_of(const Json& values) {
  return {study::rate_from(values.at("accuracy")).value(), values.at("g").get<double>(),
          values.at("phi").get<double>()};
}

/// Every stride-th first rate with every stride-th second one.
std::vector<RatePair> thinned(const std::vector<RatePair>& grid, int64_t stride) {
  std::vector<RatePair> kept;
  int64_t row = -1, column = 0;
  for (size_t i = 0; i < grid.size(); ++i) {
    const bool next = i == 0 || grid[i].first != grid[i - 1].first;
    row += next;
    column = next ? 0 : column + 1;
    if (row % stride == 0 && column % stride == 0) kept.push_back(grid[i]);
  }
  return kept;
}

std::string search_finding(const RateSearch& search, const RatePair& rule) {
  if (!search.best)
    return "Algorithm 1: every pair loses 1 point of accuracy or more, so it chooses none: did not hold.";
  const RateTrial& best = search.trials[*search.best];
  const bool same = best.rates.first == rule.first && best.rates.second == rule.second;
  return fmt::format("Algorithm 1 chooses ({}, {}), R {:.4f}; the paper's rule is ({}, {}): {}.",
                     rate_name(best.rates.first), rate_name(best.rates.second), best.r, rate_name(rule.first),
                     rate_name(rule.second), same ? "held" : "did not hold");
}

// B-F2

constexpr const char* derivatives[] = {"loss", "probs", "logits"};
constexpr const char* inhibition_rows[] = {"original", "GI1", "GI2", "GI3"};

/// Share, in percent, of the images of a cell's histogram from 10^low to 10^high, zeros included if low is
/// below all decades. The histogram: zeros, below 1e-45, then decades.
double share_between(const Json& histogram, int low, int high) {
  int64_t hits = 0, all = 0;
  for (size_t i = 0; i < histogram.size(); ++i) {
    const int decade = GradientHistogram::first_decade - 2 + static_cast<int>(i);
    const int64_t count = histogram[i].get<int64_t>();
    all += count;
    if (decade >= low && decade < high) hits += count;
  }
  return all == 0 ? 0 : 100 * static_cast<double>(hits) / static_cast<double>(all);
}

constexpr int lowest = GradientHistogram::first_decade - 2;  // of the column of zeros

Plot histogram_plot(Laboratory& lab, const char* of) {
  Plot plot{fmt::format("f2_{}", of),
            fmt::format("Mean |d {} / d x|, MNIST (B-F2)", of),
            "bins of five decades, zeros apart",
            "images, %",
            {},
            {"0", "< 1e-45"}};
  for (int d = GradientHistogram::first_decade; d < 0; d += 5)
    plot.categories.push_back(fmt::format("1e{}", d));
  plot.categories.push_back(">= 1");
  for (const char* network : inhibition_rows) {
    const Json* values = lab.gradients(network);
    if (values == nullptr) continue;
    const Json& h = values->at(of);
    Series series{
        network, {}, {share_between(h, lowest, lowest + 1), share_between(h, lowest + 1, lowest + 2)}};
    for (int d = GradientHistogram::first_decade; d < 0; d += 5)
      series.y.push_back(share_between(h, d, d + 5));
    series.y.push_back(share_between(h, 0, GradientHistogram::last_decade + 1));
    plot.series.push_back(series);
  }
  return plot;
}

// B-F3, B-F4

constexpr const char* trained_rows[] = {"PGD training", "hash+GI1", "hash+GI2"};

/// Success of an attack over one of its settings, on networks with and without softmax in the way.
struct Sweep {
  std::string name, title, setting, attack;  // attack: with {} for the setting
  std::vector<double> values;
  double passes;
};

Part sweep(Laboratory& lab, const Sweep& s) {
  Part part;
  Table table{s.name, s.title, {"network", "direction"}, {}, {}};
  for (const double v : s.values) table.columns.push_back(fmt::format("{} {:g}", s.setting, v));
  Plot plot{s.name, s.title, s.setting, "success, %", {}, {}};
  for (const char* network : trained_rows)
    for (const char* loss : {"ce", "ce-exact"}) {
      Series series{fmt::format("{}, {}", network, loss), {}, {}};
      std::vector<std::string> row{network, loss};
      for (const double v : s.values) {
        const std::string attack = fmt::format(fmt::runtime(s.attack), v) + ",loss=" + loss;
        const Json* values = lab.attack(network, {attack, lab.protocol.untargeted, s.passes});
        row.push_back(short_percent(values));
        if (const auto percent = percent_of(values)) series.add(v, *percent);
      }
      table.add(row);
      if (!series.x.empty()) plot.series.push_back(series);
    }
  const Interval widest = wilson(lab.protocol.untargeted / 2, lab.protocol.untargeted);
  table.note = fmt::format(
      "success as in B-T2, n = first {} images; 95 % Wilson intervals: at most +-{:.1f} points, each in its "
      "cell. ce: the gradient that float32 gives, as published; ce-exact: without underflow. PGD training: "
      "{} steps at eps {:g}, {} epochs on {} images, from the original network.",
      lab.protocol.untargeted, 50 * (widest.high - widest.low), lab.protocol.pgd_steps, lab.protocol.eps,
      lab.protocol.pgd_epochs, lab.protocol.pgd_images);
  part.tables.push_back(table);
  if (!plot.series.empty()) part.plots.push_back(plot);
  return part;
}

/// The number in a sweep's table, if there is one.
std::optional<double> number_at(const Table& table, size_t row, size_t column) {
  const std::string& text = table.rows.at(row).at(column);
  if (text == study::not_run || text == "-") return {};
  return std::stod(text);
}

}  // namespace

Part rate_search(Laboratory& lab) {
  const std::vector<RatePair> grid =
      thinned(rate_grid(lab.weights_first(), lab.weights_second()), lab.protocol.search_stride);
  const Json* original = lab.accuracy("original");
  std::vector<const Json*> cells;
  for (const RatePair& pair : grid) cells.push_back(lab.search_point(pair.first, pair.second));
  const bool whole =
      original && std::all_of(cells.begin(), cells.end(), [](const Json* c) { return c != nullptr; });
  RateSearch search;
  if (whole) {
    size_t next = 0;
    search = search_rates(grid, {.accuracy = study::rate_from(original->at("accuracy")).value()},
                          [&](const RatePair&) { return score_of(*cells[next++]); });
  }
  const RatePair rule = lab.hash_rates();
  Table table{"search",
              "Rates of the two hash layers (algorithm 1)",
              {"first", "second", "accuracy, %", "g", "phi", "R", "chosen"},
              {},
              {}};
  for (size_t i = 0; i < grid.size(); ++i) {
    const bool ruled = grid[i].first == rule.first && grid[i].second == rule.second;
    std::string chosen = search.best == i ? "by R" : "";
    if (ruled) chosen += chosen.empty() ? "by the rule" : " and by the rule";
    const Json* c = cells[i];
    table.add({rate_name(grid[i].first), rate_name(grid[i].second), study::shown(c, "accuracy"),
               c ? fmt::format("{:.6g}", c->at("g").get<double>()) : study::not_run,
               c ? fmt::format("{:.6g}", c->at("phi").get<double>()) : study::not_run,
               whole ? fmt::format("{:.4f}", search.trials[i].r) : study::not_run, chosen});
  }
  table.note = fmt::format(
      "Each pair retrained from the original network: {} images, {} epochs; n = {}; brackets: 95 % Wilson "
      "interval; g and phi on {} images. R: alpha 0.5, g and "
      "phi brought to [0,1] over the grid, 1 where accuracy falls by 1 point or more below the original's (n "
      "= {}).",
      lab.protocol.search_images, lab.protocol.search_epochs, lab.protocol.search_tested,
      lab.protocol.search_estimated, lab.protocol.accuracy);
  return {{table}, {}, {whole ? search_finding(search, rule) : "Algorithm 1: not measured."}};
}

Part gradient_histograms(Laboratory& lab) {
  Table table{"f2_gradients",
              "Mean absolute derivatives, MNIST, % of images (B-F2)",
              {"network", "loss: (1e-20, 1e-10]", "loss: [0, 1e-40]", "paper", "of it exactly 0",
               "probs: [0, 1e-40]", "logits: (1e-1, 1]", "paper, logits"},
              {},
              fmt::format("n = {}; loss: d ce / d x; probs, logits: all classes together. GI3: one draw.",
                          lab.protocol.gradients)};
  const char* paper_loss[] = {"~0 (66 in (1e-20, 1e-10])", "~97", "~99", "~97"};
  const char* paper_logits[] = {"~21", "~69", "~87", "~65"};
  std::vector<double> underflow;
  for (size_t i = 0; i < std::size(inhibition_rows); ++i) {
    const Json* values = lab.gradients(inhibition_rows[i]);
    const auto shown = [&](const char* of, int low, int high) {
      return values ? fmt::format("{:.2f}", share_between(values->at(of), low, high))
                    : std::string(study::not_run);
    };
    table.add({inhibition_rows[i], shown("loss", -20, -10), shown("loss", lowest, -40), paper_loss[i],
               shown("loss", lowest, lowest + 1), shown("probs", lowest, -40), shown("logits", -1, 0),
               paper_logits[i]});
    if (values) underflow.push_back(share_between(values->at("loss"), lowest, -40));
  }
  Part part{{table}, {}, {}};
  for (const char* of : derivatives) {
    const Plot plot = histogram_plot(lab, of);
    if (!plot.series.empty()) part.plots.push_back(plot);
  }
  if (underflow.size() < std::size(inhibition_rows)) {
    part.findings.push_back("B-F2: not measured.");
    return part;
  }
  const double least = *std::min_element(underflow.begin() + 1, underflow.end());
  part.findings.push_back(
      fmt::format("B-F2: gradient inhibition moves at least {:.2f} % of the loss gradients below 1e-40 "
                  "(original: {:.2f} %; paper: 97 %): {}. Below 1.2e-38 float32 underflows.",
                  least, underflow[0], verdict(least - underflow[0], 97)));
  return part;
}

Part success_over_eps(Laboratory& lab) {
  Part part = sweep(lab, {"f3_eps",
                          "FGSM over eps, MNIST: success, % (B-F3)",
                          "eps",
                          "fgsm:eps={}",
                          {0.05, 0.1, 0.2, 0.3, 0.4, 0.5},
                          2});
  const Table& table = part.tables[0];
  const auto pgd = number_at(table, 0, 5), gi2 = number_at(table, 4, 5), exact = number_at(table, 5, 5),
             pgd_exact = number_at(table, 1, 5);
  part.findings.push_back(
      pgd && gi2 && exact && pgd_exact
          ? fmt::format("B-F3, the paper prefers hash+GI2 to PGD training at eps 0.3: FGSM finds {:.2f} % "
                        "against {:.2f} %: as published, {}; along the exact direction "
                        "{:.2f} % against {:.2f} %: {}.",
                        *gi2, *pgd, *gi2 < *pgd ? "held" : "did not hold", *exact, *pgd_exact,
                        *exact < *pgd_exact ? "held" : "did not hold")
          : "B-F3: not measured.");
  return part;
}

Part success_over_step(Laboratory& lab) {
  Part part = sweep(lab, {"f4_step",
                          "BIM over its step, MNIST: success, % (B-F4)",
                          "alpha",
                          fmt::format("bim:eps={},iters=10,step={{}}", lab.protocol.eps),
                          {0.01, 0.03, 0.05, 0.1, 0.2, 0.3},
                          20});
  const Table& table = part.tables[0];
  const auto spread = [&](size_t row) -> std::optional<double> {
    double low = 100, high = 0;
    for (size_t column = 2; column < table.columns.size(); ++column) {
      const auto value = number_at(table, row, column);
      if (!value) return {};
      low = std::min(low, *value);
      high = std::max(high, *value);
    }
    return high - low;
  };
  const auto pgd = spread(0), gi2 = spread(4), exact = spread(5);
  part.findings.push_back(
      pgd && gi2 && exact
          ? fmt::format("B-F4, success on hash+GI2 does not depend on alpha, that on PGD training does: it "
                        "varies by {:.2f} and {:.2f} points: as published, {}; along the "
                        "exact direction by {:.2f} on hash+GI2.",
                        *gi2, *pgd, *gi2 < *pgd ? "held" : "did not hold", *exact)
          : "B-F4: not measured.");
  return part;
}

}  // namespace hashgrad::liu2021
