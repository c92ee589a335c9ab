// Algorithm 1: the rates of the two hash layers, searched on a grid.
#include "compression/rate_search.h"

#include <algorithm>

#include "experiments/liu2021/networks.h"
#include "experiments/liu2021/tables.h"

namespace hashgrad::liu2021 {
namespace {

using study::Json;

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
                     rate_name(rule.second), study::verdict(same));
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
  report::Table table{"search",
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

}  // namespace hashgrad::liu2021
