#include "experiments/liu2018/tables.h"

#include <cmath>
#include <fmt/format.h>
#include <limits>

namespace hashgrad::liu2018 {
namespace {

using report::percent;
using report::Table;

constexpr const char* not_given = "-";

std::string cell(const Rate& rate) {
  return percent(rate.value(), rate.interval().low, rate.interval().high);
}

/// Clean accuracy in A-F3.
std::string paper_accuracy(const std::string& name) {
  if (name == "uncompressed") return "99.29";
  if (name == "HashNet(1/8)") return "99.25";
  if (name == "HashNet(1/16)") return "99.23";
  if (name == "HashNet(1/32)") return "99.19";
  if (name == "HashNet(1/64)") return "99.13";
  return not_given;
}

/// Success at eps 0.5 under inhibition of strength tau (A-F10a and its text).
std::string paper_inhibited(const std::string& name, double tau) {
  const bool strongest = std::abs(tau - 0.1) < 1e-12;
  if (name == "uncompressed") return tau == 0 ? "95.81" : strongest ? "1.24" : not_given;
  return strongest ? "< 10" : not_given;
}

/// Images with gradients in [1e-10, 1] and in [1e-25, 1e-15] (text of A-F7), without inhibition.
std::pair<std::string, std::string> paper_gradients(const std::string& name, double tau) {
  if (tau == 0 && name == "uncompressed") return {"~68", "~1"};
  if (tau == 0 && name == "HashNet(1/64)") return {"~19", "~32"};
  return {not_given, not_given};
}

std::string share(int64_t hits, int64_t n) { return percent(Rate{hits, n}.value()); }

/// For tables without brackets: how wide the intervals are at most.
std::string width_note(int64_t n) {
  const Interval widest = wilson(n / 2, n);
  return fmt::format("{}; n = {}; 95 % Wilson intervals: at most +-{:.1f} points, each in counts.csv.",
                     success_definition, n, 50 * (widest.high - widest.low));
}

std::string intervals_note(int64_t n) {
  return fmt::format("{}; n = {}; brackets: 95 % Wilson interval.", success_definition, n);
}

double mean(const Results& results, const std::function<double(const NetworkResult&)>& value) {
  double sum = 0;
  for (const NetworkResult& r : results) sum += value(r);
  return sum / static_cast<double>(results.size());
}

/// Five-decade bins of a histogram, zeros first, as shares: what the plots show.
std::vector<std::string> bin_names() {
  std::vector<std::string> names = {"0", "< 1e-45"};
  for (int d = GradientHistogram::first_decade; d < 0; d += 5) names.push_back(fmt::format("1e{}", d));
  names.push_back(">= 1");
  return names;
}

std::vector<double> bins(const GradientHistogram& h) {
  const auto share = [&](int64_t n) { return 100 * Rate{n, h.images}.value(); };
  std::vector<double> shares = {share(h.zeros), share(h.below)};
  for (int d = GradientHistogram::first_decade; d < 0; d += 5)
    shares.push_back(100 * h.between(std::pow(10.0, d), std::pow(10.0, d + 5)).value());
  int64_t large = 0;
  for (size_t i = -GradientHistogram::first_decade; i < h.counts.size(); ++i) large += h.counts[i];
  shares.push_back(share(large));
  return shares;
}

}  // namespace

const char* const success_definition =
    "success: the prediction differs from the network's own clean prediction (A-ALG1)";

Table accuracy_table(const Results& results) {
  Table table{
      "f3_accuracy", "Clean accuracy, % (A-F3)", {"network", "parameters", "accuracy", "paper"}, {}, {}};
  for (const NetworkResult& r : results)
    table.add({r.name, std::to_string(r.parameters), cell(r.accuracy), paper_accuracy(r.name)});
  table.note = fmt::format("n = {}; brackets: 95 % Wilson interval.", results.at(0).accuracy.trials);
  return table;
}

Table hfgsm_table(const Results& results) {
  const std::vector<double>& eps = results.at(0).hfgsm.budgets;
  Table table{"f4_hfgsm", "HFGSM success, %, over eps (A-F4)", {"network"}, {}, {}};
  for (double e : eps) table.columns.push_back(fmt::format("eps {:g}", e));
  table.columns.push_back("paper at 0.5");
  for (const NetworkResult& r : results) {
    std::vector<std::string> grown = {r.name + ", grown"}, fixed = {r.name + ", fixed eps"};
    for (size_t i = 0; i < eps.size(); ++i) {
      grown.push_back(share(r.hfgsm.cumulative(i), r.hfgsm.rows()));
      fixed.push_back(share(r.hfgsm.fixed(i), r.hfgsm.rows()));
    }
    grown.push_back(r.name == "uncompressed" ? "95.81" : not_given);
    fixed.push_back(not_given);
    table.add(grown);
    table.add(fixed);
  }
  table.note =
      "grown: at this or any smaller eps, as the paper counts; " + width_note(results[0].hfgsm.rows());
  return table;
}

Table hjsma_table(const Results& results) {
  const std::vector<double>& elements = results.at(0).hjsma.budgets;
  Table table{
      "f5_hjsma", "HJSMA success, %, over the number of elements set to 1 (A-F5)", {"elements"}, {}, {}};
  for (const NetworkResult& r : results) table.columns.push_back(r.name);
  for (size_t i = 0; i < elements.size(); ++i) {
    std::vector<std::string> row = {fmt::format("{:g}", elements[i])};
    for (const NetworkResult& r : results) row.push_back(share(r.hjsma.cumulative(i), r.hjsma.rows()));
    table.add(row);
  }
  table.note = "grown; target: the runner-up class; the paper shows curves only; " +
               width_note(results[0].hjsma.rows());
  return table;
}

Table inhibition_table(const Results& results) {
  Table table{"f10a_inhibition",
              "Gradient inhibition: HFGSM success, %, with eps grown to 0.5 (A-F10a)",
              {"network", "tau", "accuracy", "success", "paper", "zero gradients", "exact direction"},
              {},
              {}};
  for (const NetworkResult& r : results)
    for (const Inhibition& i : r.inhibition)
      table.add({r.name, fmt::format("{:g}", i.tau), percent(i.accuracy.value()), cell(i.success),
                 paper_inhibited(r.name, i.tau), percent(i.zero_gradients.value()), cell(i.exact_success)});
  for (size_t t = 0; t < results.at(0).inhibition.size(); ++t) {
    const auto mean_of = [&](auto pick) {
      return percent(mean(results, [&](const NetworkResult& r) { return pick(r.inhibition[t]).value(); }));
    };
    const double tau = results[0].inhibition[t].tau;
    table.add({fmt::format("mean of {}", results.size()), fmt::format("{:g}", tau),
               mean_of([](const Inhibition& i) { return i.accuracy; }),
               mean_of([](const Inhibition& i) { return i.success; }),
               tau == 0                      ? "87.99 (of 5)"
               : std::abs(tau - 0.1) < 1e-12 ? "4.77 (of 5)"
                                             : not_given,
               mean_of([](const Inhibition& i) { return i.zero_gradients; }),
               mean_of([](const Inhibition& i) { return i.exact_success; })});
  }
  table.note = fmt::format(
      "zero gradients: images whose cross-entropy gradient is exactly 0, so that nothing moves (in float32 "
      "once "
      "the largest logit leads by about 104, so the tau it takes depends on how long a network was trained); "
      "exact "
      "direction: the "
      "same attack along the direction of the cross-entropy computed without underflow; {}",
      intervals_note(results[0].inhibition.at(0).success.trials));
  return table;
}

Table gradient_table(const Results& results) {
  Table table{"f7_f9_gradients",
              "Mean |input gradient| of the cross-entropy, % of images (A-F7, A-F9)",
              {"network", "tau", "zero", "[1e-25, 1e-15)", "paper", "[1e-10, 1)", "paper, large"},
              {},
              {}};
  for (const NetworkResult& r : results)
    for (const Inhibition& i : r.inhibition) {
      const auto [large, small] = paper_gradients(r.name, i.tau);
      table.add({r.name, fmt::format("{:g}", i.tau), percent(i.gradients.zero_share().value()),
                 percent(i.gradients.between(1e-25, 1e-15).value()), small,
                 percent(i.gradients.between(1e-10, 1).value()), large});
    }
  table.note = fmt::format("n = {}; zero: every element of the image's gradient is exactly 0.",
                           results.at(0).inhibition.at(0).gradients.images);
  return table;
}

namespace {

Table histogram_table(const Results& results) {
  Table table{"gradient_histograms",
              "Images by decade of their mean |input gradient|",
              {"network", "tau", "zero", "not finite", "below 1e-45"},
              {},
              {}};
  const size_t decades = results.at(0).inhibition.at(0).gradients.counts.size();
  for (size_t d = 0; d < decades; ++d)
    table.columns.push_back(fmt::format("1e{}", GradientHistogram::first_decade + static_cast<int>(d)));
  for (const NetworkResult& r : results)
    for (const Inhibition& i : r.inhibition) {
      const GradientHistogram& h = i.gradients;
      std::vector<std::string> row = {r.name, fmt::format("{:g}", i.tau), std::to_string(h.zeros),
                                      std::to_string(h.not_finite), std::to_string(h.below)};
      for (int64_t count : h.counts) row.push_back(std::to_string(count));
      table.add(row);
    }
  table.note = "column 1eD: 10^D <= mean < 10^(D+1).";
  return table;
}

Table counts_table(const Results& results) {
  Table table{"counts",
              "Every success rate with its count and 95 % Wilson interval",
              {"figure", "network", "attack", "budget", "tau", "hits", "n", "rate", "low", "high"},
              {},
              success_definition};
  const auto add = [&](const char* figure, const NetworkResult& r, const char* attack, double budget,
                       double tau, const Rate& rate) {
    const Interval interval = rate.interval();
    table.add({figure, r.name, attack, fmt::format("{:g}", budget), fmt::format("{:g}", tau),
               std::to_string(rate.hits), std::to_string(rate.trials), fmt::format("{:.6f}", rate.value()),
               fmt::format("{:.6f}", interval.low), fmt::format("{:.6f}", interval.high)});
  };
  for (const NetworkResult& r : results) {
    for (size_t i = 0; i < r.hfgsm.budgets.size(); ++i) {
      add("F4", r, "hfgsm grown", r.hfgsm.budgets[i], 0, {r.hfgsm.cumulative(i), r.hfgsm.rows()});
      add("F4", r, "hfgsm fixed", r.hfgsm.budgets[i], 0, {r.hfgsm.fixed(i), r.hfgsm.rows()});
    }
    for (size_t i = 0; i < r.hjsma.budgets.size(); ++i)
      add("F5", r, "hjsma grown", r.hjsma.budgets[i], 0, {r.hjsma.cumulative(i), r.hjsma.rows()});
    for (const Inhibition& i : r.inhibition) {
      add("F10a", r, "hfgsm grown", r.hfgsm.budgets.back(), i.tau, i.success);
      add("F10a", r, "hfgsm grown, ce-exact", r.hfgsm.budgets.back(), i.tau, i.exact_success);
    }
  }
  return table;
}

}  // namespace

std::vector<Table> shown_tables(const Results& results) {
  return {accuracy_table(results), hfgsm_table(results), hjsma_table(results), inhibition_table(results),
          gradient_table(results)};
}

std::vector<Table> data_tables(const Results& results) {
  return {counts_table(results), histogram_table(results)};
}

std::vector<report::Plot> all_plots(const Results& results) {
  report::Plot f4{"f4_hfgsm", "HFGSM, eps grown (A-F4)", "eps", "success, %", {}, {}};
  report::Plot f5{"f5_hjsma", "HJSMA (A-F5)", "elements set to 1", "success, %", {}, {}};
  report::Plot f10{"f10a_inhibition",
                   "HFGSM under gradient inhibition, eps grown to 0.5 (A-F10a)",
                   "tau",
                   "success, %",
                   {},
                   {}};
  report::Plot f7{"f7_gradients",
                  "Mean |input gradient| by network (A-F7)",
                  "bins of five decades, zeros apart",
                  "images, %",
                  {},
                  bin_names()};
  report::Plot f9{"f9_gradients",
                  "Mean |input gradient| under inhibition, " + results.at(0).name + " (A-F9)",
                  "bins of five decades, zeros apart",
                  "images, %",
                  {},
                  bin_names()};
  const auto curve = [](const std::string& name, const Growth& g) {
    report::Series series{name, g.budgets, {}};
    for (size_t i = 0; i < g.budgets.size(); ++i)
      series.y.push_back(100 * Rate{g.cumulative(i), g.rows()}.value());
    return series;
  };
  for (const NetworkResult& r : results) {
    f4.series.push_back(curve(r.name, r.hfgsm));
    f5.series.push_back(curve(r.name, r.hjsma));
    f7.series.push_back({r.name, {}, bins(r.inhibition.at(0).gradients)});
    report::Series published{r.name, {}, {}}, exact{r.name + ", exact direction", {}, {}};
    for (const Inhibition& i : r.inhibition) {
      published.x.push_back(i.tau);
      published.y.push_back(100 * i.success.value());
      exact.x.push_back(i.tau);
      exact.y.push_back(100 * i.exact_success.value());
    }
    f10.series.push_back(published);
    f10.series.push_back(exact);
  }
  for (const Inhibition& i : results[0].inhibition)
    f9.series.push_back({fmt::format("tau {:g}", i.tau), {}, bins(i.gradients)});
  return {f4, f5, f10, f7, f9};
}

}  // namespace hashgrad::liu2018
