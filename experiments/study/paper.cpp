#include "experiments/study/paper.h"

#include <algorithm>
#include <fmt/ranges.h>

#include "core/file.h"
#include "datasets/registry.h"
#include "experiments/progress.h"
#include "experiments/report/html.h"
#include "experiments/study/noted_data.h"

namespace hashgrad::study {
namespace {

const std::vector<std::string> scale_names{"smoke", "reduced", "full"};

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

void add_choice(CLI::App& app, const char* name, std::vector<std::string>& chosen, const std::string& text,
                const std::vector<std::string>& known) {
  if (!known.empty()) app.add_option(name, chosen, text)->check(cli::one_of(known))->delimiter(',');
}

std::string origin_text(const Page& page) {
  size_t width = 0;
  for (const auto& [name, value] : page.origin) width = std::max(width, name.size());
  std::string text;
  for (const auto& [name, value] : page.origin) text += fmt::format("{:<{}}  {}\n", name, width, value);
  return text;
}

std::string markdown(const Page& page) {
  std::string text = fmt::format("## {}\n\n{}\n\n", page.title, page.source);
  for (const std::string& finding : page.findings) text += "- " + finding + "\n";
  text += fmt::format("\n```\n{}```\n\n", origin_text(page));
  for (const report::Table& table : page.tables) text += to_markdown(table) + "\n";
  return text;
}

nlohmann::ordered_json json(const Page& page) {
  nlohmann::ordered_json result{{"title", page.title}, {"source", page.source}, {"findings", page.findings}};
  for (const auto& [name, value] : page.origin) result["origin"][name] = value;
  for (const report::Table& table : page.tables) result["tables"][table.name] = to_json(table);
  return result;
}

/// False for one whose cells were not run.
bool has_points(const report::Plot& plot) {
  if (!plot.heat.rows.empty()) return true;
  return std::any_of(plot.series.begin(), plot.series.end(), [](const auto& s) { return !s.y.empty(); });
}

/// Draws the plots into the folder and the page; false when gnuplot was not found.
bool draw(const std::vector<report::Plot>& plots, const std::string& folder, report::HtmlPage& html) {
  const bool drawn = plots.empty() || report::gnuplot_installed();
  if (!plots.empty()) html.heading("Figures");
  for (const report::Plot& plot : plots)
    if (has_points(plot)) html.drawing(draw_plot(plot, folder), plot.title + ".");
  if (!drawn)
    html.paragraph("gnuplot was not found: scripts and data are beside this page (NAME.gp, NAME.dat).");
  return drawn;
}

}  // namespace

const char* name_of(Scale scale) { return scale_names.at(static_cast<size_t>(scale)).c_str(); }

Scale PaperFlags::size() const {
  const auto found = std::find(scale_names.begin(), scale_names.end(), scale);
  check(found != scale_names.end(), "--scale: '{}' is not one of {}", scale, fmt::join(scale_names, ", "));
  return static_cast<Scale>(found - scale_names.begin());
}

bool PaperFlags::table(const std::string& name) const { return all || contains(tables, name); }

bool PaperFlags::figure(const std::string& name) const { return all || contains(figures, name); }

StudyOptions PaperFlags::study() const { return {output, parse_shard(shard), collect, common.quiet}; }

void add_paper_flags(CLI::App& app, PaperFlags& flags, const std::vector<std::string>& tables,
                     const std::vector<std::string>& figures) {
  app.option_defaults()->always_capture_default();
  app.add_option("--output", flags.output, "folder of cells, networks and the report")->required();
  app.add_option("--scale", flags.scale, "how much is spent; full: the paper's protocol")
      ->check(cli::one_of(scale_names));
  add_choice(app, "--table", flags.tables, "tables to make", tables);
  add_choice(app, "--figure", flags.figures, "figures to make", figures);
  app.add_flag("--all", flags.all, "everything");
  app.add_option("--shard", flags.shard, "i/n: measure only the cells of the i-th of n machines")
      ->check(cli::parsed_by([](const std::string& text) { parse_shard(text); }, "i/n"));
  app.add_flag("--collect", flags.collect, "measure nothing: report the cells that are there");
  cli::add_data_dir(app, flags.data_dir);
  cli::add_common(app, flags.common);
}

Dataset first(const std::string& data, Split split, int64_t n, const StudyFlags& flags, ImageSize resize) {
  Dataset found = load_dataset(
      data, split, {.data_dir = flags.data_dir, .first = n, .resize = resize, .seed = flags.common.seed});
  check_noted_data(flags.output, found,
                   {{"data", data},
                    {"split", hashgrad::name_of(split)},
                    {"n", n},
                    {"size", {resize.height, resize.width}},
                    {"seed", flags.common.seed}});
  return found;
}

void check_asked(const PaperFlags& flags) {
  if (!flags.all && flags.tables.empty() && flags.figures.empty())
    cli::usage("nothing was asked for (--table, --figure or --all)");
}

void Page::add(const Part& part) {
  const auto append = [](auto& all, const auto& more) { all.insert(all.end(), more.begin(), more.end()); };
  append(tables, part.tables);
  append(plots, part.plots);
  append(findings, part.findings);
  append(pictures, part.pictures);
}

void show(Page page, const PaperFlags& flags, const Study& study) {
  if (flags.size() == Scale::smoke)
    page.findings.insert(
        page.findings.begin(),
        "A smoke run, to see that everything works: no sentence or number below says anything "
        "about the paper.");
  page.origin.insert(page.origin.begin(), {"scale", name_of(flags.size())});
  show(std::move(page), static_cast<const StudyFlags&>(flags), study);
}

void show(Page page, const StudyFlags& flags, const Study& study) {
  page.origin.insert(page.origin.begin(),
                     {{"command", cli::command_line},
                      {"seed", std::to_string(flags.common.seed)},
                      {"cells", fmt::format("{} of {} run, in {}", study.measured(), study.declared(),
                                            format_seconds(study.seconds()))}});
  const std::string& folder = study.folder();
  report::HtmlPage html(page.title);
  html.paragraph(page.source);
  html.list(page.findings);
  html.preformatted(origin_text(page));
  html.heading("Tables");
  for (const report::Table& table : page.tables) {
    write_file(folder + "/" + table.name + ".csv", to_csv(table));
    html.table(table);
  }
  write_file(folder + "/results.json", cli::json_text(json(page)));
  write_file(folder + "/results.md", markdown(page));
  const bool drawn = draw(page.plots, folder, html);
  if (!page.pictures.empty()) html.heading("Pictures");
  for (const Picture& picture : page.pictures) {
    write_file(folder + "/" + picture.name + ".png", picture.png);
    html.picture(picture.png, picture.caption);
  }
  write_file(folder + "/report.html", html.html());
  for (const report::Table& table : page.tables) fmt::print("{}\n", to_text(table));
  for (const std::string& finding : page.findings) fmt::print("{}\n", finding);
  fmt::print("\n{}/report.html ({} of {} cells{})\n", folder, study.measured(), study.declared(),
             drawn ? "" : "; without plots: gnuplot was not found");
}

void run_and_show(Study& study, const PaperFlags& flags, double flops_per_second,
                  const std::function<Page()>& page) {
  page();
  study.run(flops_per_second);
  show(page(), flags, study);
}

}  // namespace hashgrad::study
