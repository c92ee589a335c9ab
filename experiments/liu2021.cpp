// The tables and figures of Liu and Wen, "Model compression hardens deep neural networks: a new perspective
// to prevent adversarial attacks" (TNNLS 2021), on MNIST:
//   liu2021 --scale reduced --table 1 --table 2 --output experiments/results/liu2021
// Networks are trained, attacked and kept in the folder; an interrupted study goes on where it stopped.
#include "experiments/cli/program.h"
#include "experiments/liu2021/tables.h"
#include "experiments/report/html.h"

namespace hashgrad {
namespace {

using liu2021::Laboratory;
using liu2021::Part;

/// A table or figure by the name that it has on the command line.
struct Entry {
  const char* name;
  bool figure;
  Part (*make)(Laboratory&);
};
constexpr Entry entries[] = {
    {"1", false, liu2021::clean_accuracy},     {"2", false, liu2021::white_box},
    {"3", false, liu2021::black_box},          {"4", false, liu2021::input_transformations},
    {"7", false, liu2021::other_compression},  {"search", false, liu2021::rate_search},
    {"2", true, liu2021::gradient_histograms}, {"3", true, liu2021::success_over_eps},
    {"4", true, liu2021::success_over_step}};

std::vector<std::string> names(bool figures) {
  std::vector<std::string> result;
  for (const Entry& entry : entries)
    if (entry.figure == figures) result.push_back(entry.name);
  return result;
}

/// Everything that was asked for.
std::vector<Part> parts(Laboratory& lab, const study::PaperFlags& flags) {
  std::vector<Part> result;
  for (const Entry& entry : entries)
    if (entry.figure ? flags.figure(entry.name) : flags.table(entry.name)) result.push_back(entry.make(lab));
  return result;
}

study::Page page_of(const std::vector<Part>& parts, const liu2021::Protocol& protocol) {
  study::Page page{"Hash classifiers and gradient inhibition, attacked as published and adaptively",
                   "The measurements of Liu and Wen, TNNLS 2021, on MNIST, repeated. Rows marked paper are "
                   "theirs. A claim is "
                   "said to hold when at least half of the paper's effect is found.",
                   {},
                   liu2021::described(protocol),
                   {},
                   {}};
  for (const Part& part : parts) {
    page.tables.insert(page.tables.end(), part.tables.begin(), part.tables.end());
    page.plots.insert(page.plots.end(), part.plots.begin(), part.plots.end());
    page.findings.insert(page.findings.end(), part.findings.begin(), part.findings.end());
  }
  return page;
}

void run(const study::PaperFlags& flags) {
  study::check_asked(flags);
  report::prepare_folder(flags.output);
  Laboratory lab(flags);
  parts(lab, flags);  // says which cells there are
  lab.cells.run(lab.flops_per_second());
  show(page_of(parts(lab, flags), lab.protocol), flags, lab.cells);
}

}  // namespace
}  // namespace hashgrad

int main(int argc, char** argv) {
  CLI::App app("The tables and figures of Liu and Wen, TNNLS 2021, on MNIST.", "liu2021");
  hashgrad::study::PaperFlags flags;
  hashgrad::study::add_paper_flags(app, flags, hashgrad::names(false), hashgrad::names(true));
  return hashgrad::cli::run_program(app, argc, argv, [&] { hashgrad::run(flags); });
}
