// hashgrad report MODEL --threat linf:0.3: how robust the model is, and whether to believe it.
#include <filesystem>

#include "attacks/checks/evaluation.h"
#include "core/file.h"
#include "core/settings.h"
#include "experiments/cli/draws.h"
#include "experiments/cli/finished.h"
#include "experiments/cli/interrupt.h"
#include "experiments/cli/options.h"
#include "experiments/progress.h"
#include "experiments/report/html.h"
#include "experiments/report/picture.h"
#include "experiments/report/plot.h"
#include "nn/model_file.h"

namespace hashgrad::cli {
namespace {

struct ReportVerb {
  CommonFlags common;
  DataFlags data;
  DrawFlags draws{.eot = 20};
  std::string model, input, threat = "linf:0.3", output = "hashgrad-report";
  bool resume = false;
};

/// "linf:0.3".
Threat parse_threat(const std::string& text) {
  const size_t colon = text.find(':');
  check(colon != std::string::npos, "threat: '{}' is not NORM:EPS, such as linf:0.3, l2:2, l1:10 or l0:20",
        text);
  return {parse_norm(text.substr(0, colon)),
          hashgrad::parse_number(text.substr(colon + 1), "threat: eps", 1e-6, 1e6)};
}

std::string listed(const std::vector<int64_t>& samples) {
  constexpr size_t most = 8;
  std::string text;
  for (size_t i = 0; i < std::min(most, samples.size()); ++i)
    text += (i ? " " : "") + std::to_string(samples[i]);
  return samples.size() > most ? fmt::format("{} ... ({})", text, samples.size()) : text;
}

report::Table accuracy_table(const Evaluation& e) {
  report::Table table{"accuracy", "Accuracy, percent", {"", "accuracy [95 % interval]", "images"}, {}, ""};
  table.add({"clean", report::percent(e.clean), std::to_string(e.clean.trials)});
  table.add({"robust: right, and broken by nothing that was tried", report::percent(e.robust),
             std::to_string(e.robust.trials)});
  const Rate of_right{e.robust.hits, e.clean.hits};
  table.add({"the same, of the images that were right before", report::percent(of_right),
             std::to_string(of_right.trials)});
  return table;
}

report::Table ensemble_table(const Evaluation& e, const Threat& threat) {
  report::Table table{
      "ensemble",
      fmt::format("Attacks within {} {}", name_of(threat.norm), threat.eps),
      {"attack", "success, percent [95 % interval]", "median distance", "forwards", "backwards"},
      {},
      "Success: the prediction is not the label, of the images that were right before, judged by a forward "
      "pass after the attack. Forwards and backwards are means per image; images that are broken leave. An "
      "attack without a ball (ead, jsma, cw-l0) counts where its image lies within the budget; the median is "
      "over all its successes."};
  for (const EnsembleRow& row : e.ensemble)
    table.add({row.spec, report::percent(row.broken), row.median ? fmt::format("{:.4g}", *row.median) : "-",
               fmt::format("{:.1f}", row.forwards), fmt::format("{:.1f}", row.backwards)});
  return table;
}

report::Table curve_table(const Evaluation& e, const Threat& threat) {
  report::Table table{
      "curve",
      "Success against the budget, percent",
      {"eps", "bim on the cross-entropy", "best of three losses"},
      {},
      fmt::format("20 steps of {}. The last budget holds every image; there an attack that sees the gradient "
                  "always succeeds.",
                  threat.norm == Norm::l0 ? "0.15 per pixel on average" : "2.5 eps / 20")};
  for (const CurvePoint& point : e.curve)
    table.add({fmt::format("{:.4g}", point.eps), report::percent(point.standard.value()),
               report::percent(point.best.value())});
  return table;
}

report::Table check_table(const Evaluation& e) {
  report::Table table{"checks", "Checks", {"", "question", "verdict", "because", "images"}, {}, ""};
  for (const auto& [check, finding] : e.findings)
    table.add({check.id, check.question, name_of(finding.verdict), finding.reason, listed(finding.samples)});
  return table;
}

report::Plot curve_plot(const Evaluation& e) {
  report::Series standard{"bim on the cross-entropy", {}, {}}, best{"best of three losses", {}, {}};
  for (const CurvePoint& point : e.curve) {
    standard.add(point.eps, 100 * point.standard.value());
    best.add(point.eps, 100 * point.best.value());
  }
  return {"curve", "Success against the budget", "eps", "success, percent", {standard, best}, {}};
}

/// Images, the smallest perturbations found within the budget, and the results, of the first rows broken.
std::string pictures(const Evidence& evidence) {
  std::vector<int64_t> rows;
  for (size_t i = 0; i < evidence.worst_case().size() && rows.size() < 10; ++i)
    if (evidence.worst_case()[i]) rows.push_back(static_cast<int64_t>(i));
  if (rows.empty()) return {};
  const Tensor x = gather(evidence.input().x, rows), x_adv = gather(evidence.nearest(), rows);
  return report::png_grid({{x}, {step(x_adv, -1, x), report::Shade::signs}, {x_adv}});
}

std::string settings_text(const ReportVerb& v, const Evidence& evidence) {
  const std::string draws =
      randomised(evidence.model())
          ? fmt::format(
                "draws    answers by draw: attacks follow one, or {} where they say so; the majority of "
                "{} others judges\n",
                v.draws.eot, v.draws.judge)
          : "";
  return fmt::format(
      "command  {}\nmodel    {}\nthreat   {} {} {}\nimages   {}, of which {} are classified "
      "rightly and attacked\nseed     {}\n{}",
      command_line, v.model, name_of(evidence.threat().norm), evidence.threat().eps,
      evidence.threat().norm == Norm::l0 ? "pixels, times channels" : "in pixels of [0,1]",
      evidence.rows_given(), evidence.rows(), v.common.seed, draws);
}

nlohmann::ordered_json evaluation_json(const Evaluation& e, const std::vector<report::Table>& tables) {
  nlohmann::ordered_json json = {{"verdict", name_of(e.verdict)},
                                 {"reason", e.reason},
                                 {"clean_accuracy", e.clean.value()},
                                 {"robust_accuracy", e.robust.value()},
                                 {"images", e.robust.trials}};
  for (const auto& [check, finding] : e.findings)
    json["checks"][check.id] = {
        {"verdict", name_of(finding.verdict)}, {"because", finding.reason}, {"samples", finding.samples}};
  for (const report::Table& table : tables) json["tables"][table.name] = to_json(table);
  return json;
}

void write_folder(const ReportVerb& v, const Evidence& evidence, const Evaluation& e) {
  const std::vector<report::Table> tables = {accuracy_table(e), check_table(e),
                                             ensemble_table(e, evidence.threat()),
                                             curve_table(e, evidence.threat())};
  report::HtmlPage page("Robustness of " + std::filesystem::path(v.model).filename().string());
  page.verdict(name_of(e.verdict), e.reason);
  page.preformatted(settings_text(v, evidence));
  std::string markdown =
      fmt::format("# Robustness of {}\n\n{}\n\n```\n{}```\n\n",
                  std::filesystem::path(v.model).filename().string(), e.reason, settings_text(v, evidence));
  for (const report::Table& table : tables) {
    write_file(v.output + "/" + table.name + ".csv", to_csv(table));
    page.table(table);
    markdown += to_markdown(table) + "\n";
  }
  page.drawing(draw_plot(curve_plot(e), v.output), "Success against the budget.");
  if (const std::string png = pictures(evidence); !png.empty()) {
    write_file(v.output + "/pictures.png", png);
    page.picture(png, "Images; the smallest perturbations found, amplified; what the model gets wrong.");
  } else {
    std::filesystem::remove(v.output + "/pictures.png");  // of an earlier report
  }
  nlohmann::ordered_json json = evaluation_json(e, tables);
  json["command"] = command_line;
  write_file(v.output + "/report.json", json_text(json));
  write_file(v.output + "/report.md", markdown);
  write_file(v.output + "/report.html", page.html());
}

/// What another run of this report has to have in common with one that was interrupted, to go on with it.
RunSettings run_of(const ReportVerb& v, const AttackInput& input) {
  RunSettings run = run_of(v.model, input, v.common, v.draws.of(v.common.seed));
  run["threat"] = v.threat;
  return run;
}

/// Attacks of an earlier run are taken from `finished`; when a signal stops this one, its own are there.
Evaluation evaluate_or_keep(Evidence& evidence, const FinishedAttacks& finished) try {
  return evaluate_robustness(evidence);
} catch (const Stopped&) {
  throw Interrupted{"", finished.count() == 0
                            ? "no attack was finished, start anew"
                            : fmt::format("{} attacks are kept, continue with --resume", finished.count())};
}

void run(const ReportVerb& v, const CLI::App& verb) {
  const std::string kept = v.output + "/checkpoint";
  if (!v.resume) refuse_unfinished(kept, "--resume");
  const Model model = load_model(v.model).to(v.common.type()).to(v.common.where());
  const Dataset data = load_input(v.input, v.data);
  check(data.labelled(), "{}: holds no labels y, which an evaluation needs", data.name);
  report::prepare_folder(v.output);
  const AttackInput input{
      data.images_float(0, data.size(), model.dtype()), data.labels, {}, sample_numbers(v.data, data.size())};
  EvidenceOptions options{v.common.batch, v.common.seed, {}, v.draws.of(v.common.seed)};
  Progress progress("report", 0, v.common.quiet, "attacks");  // how many depends on what they find
  int64_t runs = 0;
  options.progress = [&](const std::string& what) { progress.update(runs++, what); };
  FinishedAttacks finished(kept, run_of(v, input));
  if (v.resume)
    options.recall = [&](const std::string& what, const Tensor& x) { return finished.recall(what, x); };
  options.keep = [&](const std::string& what, const AttackResult& result) { finished.keep(what, result); };
  options.stop = InterruptGuard::flag();
  const InterruptGuard guard;
  Evidence evidence(model, input, parse_threat(v.threat), options);
  const Evaluation e = evaluate_or_keep(evidence, finished);
  write_folder(v, evidence, e);
  for (const report::Table& table : {accuracy_table(e), ensemble_table(e, evidence.threat())})
    fmt::print("{}\n", to_text(table));
  for (const auto& [check, finding] : e.findings)
    fmt::print("  {:<4} {:<14} {}\n", check.id, name_of(finding.verdict), finding.reason);
  fmt::print("\n{}\n{}/report.html\n", e.reason, v.output);
  write_json(v.common.json, evaluation_json(e, {}), verb);
  finished.remove();
}

}  // namespace

void add_report(CLI::App& app) {
  auto* verb = app.add_subcommand("report", "Evaluate robustness, and say whether to believe the number");
  auto v = std::make_shared<ReportVerb>();
  verb->add_option("MODEL", v->model, "model file")->required();
  verb->add_option(
          "--threat", v->threat,
          "norm and size of the perturbation, in pixels of [0,1] (l0: their number): linf:0.3, l2:2, "
          "l1:10, l0:20")
      ->check(parsed_by([](const std::string& text) { parse_threat(text); }, "NORM:EPS"));
  verb->add_option("--input", v->input, "safetensors file with x and y, instead of --data");
  verb->add_option("--output", v->output, "folder of the report");
  verb->add_flag("--resume", v->resume,
                 "go on with the attacks that an interrupted run has left in OUTPUT/checkpoint; same bits");
  add_draws(*verb, v->draws);
  add_data(*verb, v->data);
  add_common(*verb, v->common);
  verb->callback([v, verb] { run(*v, *verb); });
}

}  // namespace hashgrad::cli
