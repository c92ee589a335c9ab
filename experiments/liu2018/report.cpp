#include "experiments/liu2018/report.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/file.h"
#include "experiments/report/html.h"

namespace hashgrad::liu2018 {
namespace {

constexpr const char* title = "Attacks on compressed networks, and what gradient inhibition does to them";
constexpr const char* source =
    "The measurements of Liu et al., ASP-DAC 2018, repeated: a convolutional network and its HashNets under "
    "HFGSM and "
    "HJSMA, then under gradient inhibition. Numbers marked paper are theirs.";

/// What the inhibition table says, in words.
std::string finding(const Results& results) {
  const NetworkResult& r = results.at(0);
  const Inhibition &none = r.inhibition.front(), &most = r.inhibition.back();
  return fmt::format(
      "On the {} network, inhibition with tau {:g} brings the success of the published attack from {:.1f} % "
      "to {:.1f} %. "
      "At the same time {:.1f} % of the images have an input gradient that is exactly zero in float32, where "
      "the attack "
      "adds nothing. Along the exact direction of the same cross-entropy, the same step reaches {:.1f} % "
      "({:.1f} % "
      "without inhibition).",
      r.name, most.tau, 100 * none.success.value(), 100 * most.success.value(),
      100 * most.zero_gradients.value(), 100 * most.exact_success.value(), 100 * none.exact_success.value());
}

std::string origin_text(const StudyOptions& options, const Origin& origin) {
  std::string text =
      fmt::format("command   {}\ndata      {}\nseed      {}\n", origin.command, origin.data, origin.seed);
  if (!origin.training.empty()) text += fmt::format("training  {}\n", origin.training);
  text += fmt::format(
      "eps       {:g}\nelements  {:g}\ntau       {:g} (layers {})\nimages    first {} (HFGSM, HJSMA), first "
      "{} (inhibition)\nmodels    {}\n",
      fmt::join(options.eps, " "), fmt::join(options.elements, " "), fmt::join(options.taus, " "),
      options.layers, options.attacked, options.inhibited, fmt::join(origin.models, " "));
  return text + fmt::format("counting  {}\n", success_definition);
}

nlohmann::ordered_json settings_json(const StudyOptions& options, const Origin& origin) {
  return {{"data", origin.data},          {"seed", origin.seed},
          {"training", origin.training},  {"models", origin.models},
          {"eps", options.eps},           {"elements", options.elements},
          {"tau", options.taus},          {"tau_layers", options.layers},
          {"attacked", options.attacked}, {"inhibited", options.inhibited},
          {"batch", options.batch},       {"success", success_definition}};
}

std::string markdown(const Results& results, const StudyOptions& options, const Origin& origin) {
  std::string text = fmt::format("## {}\n\n{}\n\n{}\n\n```\n{}```\n\n", title, source, finding(results),
                                 origin_text(options, origin));
  for (const report::Table& table : shown_tables(results)) text += to_markdown(table) + "\n";
  return text;
}

}  // namespace

std::string write_report(const std::string& folder, const Results& results,
                         const std::vector<Gallery>& galleries, const StudyOptions& options,
                         const Origin& origin) {
  report::HtmlPage page(title);
  page.paragraph(source);
  page.paragraph(finding(results));
  page.preformatted(origin_text(options, origin));

  nlohmann::ordered_json json = {{"command", origin.command}, {"settings", settings_json(options, origin)}};
  page.heading("Numbers");
  const auto write_table = [&](const report::Table& table) {
    write_file(folder + "/" + table.name + ".csv", to_csv(table));
    json["tables"][table.name] = to_json(table);
  };
  for (const report::Table& table : shown_tables(results)) {
    write_table(table);
    page.table(table);
  }
  for (const report::Table& table : data_tables(results)) write_table(table);
  write_file(folder + "/results.json", json.dump(2) + "\n");
  write_file(folder + "/results.md", markdown(results, options, origin));

  page.heading("Curves and histograms");
  bool drawn = true;
  for (const report::Plot& plot : all_plots(results)) {
    const std::string svg = draw_plot(plot, folder);
    drawn = drawn && !svg.empty();
    page.drawing(svg, plot.title + ".");
  }
  if (!drawn)
    page.paragraph("gnuplot was not found: scripts and data are beside this page (NAME.gp, NAME.dat).");

  if (!galleries.empty()) page.heading("Pictures");
  for (const Gallery& gallery : galleries) {
    write_file(folder + "/" + gallery.name + ".png", gallery.png);
    page.picture(gallery.png, gallery.caption);
  }
  write_file(folder + "/report.html", page.html());
  return fmt::format(
      "{}/report.html{}", folder,
      drawn ? "" : " (without plots: gnuplot was not found; scripts and data are in the folder)");
}

}  // namespace hashgrad::liu2018
