// The tables and figures of Liu and Wen, "Model compression hardens deep neural networks: a new perspective
// to prevent adversarial attacks" (TNNLS 2021), one data set at a time:
//   liu2021 --scale reduced --table 1 --table 2 --output experiments/results/liu2021
//   liu2021 --data cifar10 --scale reduced --all --output experiments/results/liu2021-cifar10
// Networks are trained, attacked and kept in the folder; an interrupted study goes on where it stopped.
#include <algorithm>
#include <fmt/ranges.h>

#include "experiments/cli/program.h"
#include "experiments/liu2021/tables.h"
#include "experiments/report/html.h"

namespace hashgrad {
namespace {

using liu2021::Laboratory;
using liu2021::Part;

struct Options {
  study::PaperFlags paper;
  std::string data = "mnist", inhibited = "fc+conv";
};

/// A table or figure by the name that it has on the command line.
struct Entry {
  std::string name;
  bool figure;
  Part (*make)(Laboratory&);
  std::vector<std::string> data;  ///< those that the paper shows it on

  bool is_of(const std::string& its_data) const {
    return std::find(data.begin(), data.end(), its_data) != data.end();
  }
  bool asked(const study::PaperFlags& flags) const { return figure ? flags.figure(name) : flags.table(name); }
};

const std::vector<Entry>& entries() {
  static const std::vector<Entry> all{{"1", false, liu2021::clean_accuracy, liu2021::data_names()},
                                      {"2", false, liu2021::white_box, liu2021::data_names()},
                                      {"3", false, liu2021::black_box, {"mnist", "cifar10"}},
                                      {"4", false, liu2021::input_transformations, {"mnist", "cifar10"}},
                                      {"5", false, liu2021::residual_accuracy, {"cifar10"}},
                                      {"6", false, liu2021::residual_white_box, {"cifar10"}},
                                      {"7", false, liu2021::other_compression, {"mnist"}},
                                      {"search", false, liu2021::rate_search, {"mnist"}},
                                      // of the logical AND; it stands with the other figures
                                      {"1", true, liu2021::decision_surface, {"mnist"}},
                                      {"2", true, liu2021::gradient_histograms, {"mnist"}},
                                      {"3", true, liu2021::success_over_eps, {"mnist"}},
                                      {"4", true, liu2021::success_over_step, {"mnist"}}};
  return all;
}

std::vector<std::string> names(bool figures) {
  std::vector<std::string> result;
  for (const Entry& entry : entries())
    if (entry.figure == figures) result.push_back(entry.name);
  return result;
}

/// Bad usage where something was asked for by name that the paper does not show on this data.
void check_data(const Options& options) {
  for (const Entry& entry : entries())
    if (!options.paper.all && entry.asked(options.paper) && !entry.is_of(options.data))
      cli::usage("{} {} is of {}, not of {}", entry.figure ? "--figure" : "--table", entry.name,
                 fmt::join(entry.data, " and "), options.data);
}

/// Everything that was asked for.
study::Page page_of(Laboratory& lab, const Options& options) {
  study::Page page{"Hash classifiers and gradient inhibition, attacked as published and adaptively",
                   fmt::format("The measurements of Liu and Wen, TNNLS 2021, on {}, repeated. Rows marked "
                               "paper are theirs. A claim is said to hold when at least half of the paper's "
                               "effect is found.",
                               lab.protocol.title),
                   {},
                   liu2021::described(lab.protocol),
                   {},
                   {}};
  for (const Entry& entry : entries())
    if (entry.is_of(options.data) && entry.asked(options.paper)) page.add(entry.make(lab));
  return page;
}

void run(const Options& options) {
  const study::PaperFlags& flags = options.paper;
  study::check_asked(flags);
  check_data(options);
  report::prepare_folder(flags.output);
  liu2021::Protocol protocol = liu2021::protocol_of(options.data, flags.size());
  liu2021::set_gi_convolution(protocol, options.inhibited == "fc+conv");
  study::Study cells(flags.study());
  Laboratory lab(flags, protocol, cells);
  run_and_show(cells, flags, lab.flops_per_second(), [&] { return page_of(lab, options); });
}

void declare_flags(CLI::App& app, Options& options) {
  study::add_paper_flags(app, options.paper, names(false), names(true));
  app.add_option("--data", options.data,
                 "the data of the tables; what the paper does not show on it is left out of --all")
      ->check(cli::one_of(liu2021::data_names()));
  app.add_option("--gi-layers", options.inhibited,
                 "where fewer than three layers are fully connected, gradient inhibition changes these and "
                 "the last convolution, or these alone")
      ->check(cli::one_of({"fc+conv", "fc"}));
}

}  // namespace
}  // namespace hashgrad

int main(int argc, char** argv) {
  CLI::App app("The tables and figures of Liu and Wen, TNNLS 2021, on one data set.", "liu2021");
  hashgrad::Options options;
  hashgrad::declare_flags(app, options);
  return hashgrad::cli::run_program(app, argc, argv, [&] { hashgrad::run(options); });
}
