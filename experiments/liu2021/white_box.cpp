#include "experiments/liu2021/white_box.h"

#include <algorithm>

namespace hashgrad::liu2021 {
namespace {

using report::Table;
using study::Json;
using study::shown;

constexpr const char* none = "-";

Attempt deepfool(const Protocol& p) { return {"deepfool", p.deepfool, 66}; }

Table published_table(const Protocol& p, const std::string& stem, const std::string& heading) {
  Table table{stem + "_white_box", heading, {"network", "by"}, {}, {}};
  const bool distances = p.paper->row("original").deepfool.has_value();
  if (distances) table.columns.push_back("DF");
  for (const Column& column : published(p)) table.columns.push_back(column.name);
  table.columns.push_back("AVG");
  table.note = fmt::format(
      "success: the prediction is not the label, of the first {} test images ({} for BPDA) that are right "
      "before; {}C&W, EAD: the prediction is the target, {}; brackets: 95 % Wilson interval, in which "
      "all targets of an image count as one observation. BPDA: BIM with a sigmoid for softmax (B-E2c). GI3 "
      "is attacked along one draw, as papers do, and judged by {}.",
      p.untargeted, p.bpda, p.jsma ? "JSMA, " : "", targets_of(p), judge_draws);
  if (distances)
    table.note +=
        fmt::format(" DF: DeepFool, mean ||r||/||x|| in l2 over its successes, n = {}.", p.deepfool);
  return table;
}

Table adaptive_table(const Protocol& p, const std::string& stem) {
  return {
      stem + "_adaptive",
      fmt::format("{}: the same networks under attacks that hidden gradients do not mislead: success, %",
                  p.title),
      {"network", "zero gradients", "in float64", "FGSM exact", "BIM exact", "PGD margin", "BIM of its twin",
       "BIM over draws", "C&W"},
      {},
      fmt::format(
          "zero gradients: images whose cross-entropy gradient is exactly 0, so that no attack along it "
          "takes place (n = {}). exact: the same step and steps along the direction of the cross-entropy "
          "computed without underflow; PGD margin: 20 steps on z_y - max z_j; of its twin: crafted on the "
          "network that the defence was added to; over draws: exact BIM over {} draws (n = {}). C&W: on hash "
          "rows with more constants and iterations ({}); on GI3 rows crafted on the network of mean weights "
          "GI1(eps/2), leading by a tenth of the median lead, if the right class leads. Otherwise images and "
          "intervals as in the table above.",
          p.gradients, eot_draws, p.eot, p.strong_cw.attack)};
}

/// Two rows: ours and the paper's.
Measured add_published(Laboratory& lab, const PaperRow& row, Table& table) {
  const std::string name = lab.protocol.label + row.network;
  Measured found;
  std::vector<std::string> ours{name, "ours"}, theirs{name, "paper"};
  if (row.deepfool) {
    const Json* distance = lab.attack(row.network, deepfool(lab.protocol));
    if (distance && distance->at("relative_l2").is_number())
      found.deepfool = distance->at("relative_l2").get<double>();
    ours.push_back(found.deepfool ? fmt::format("{:.3g}", *found.deepfool)
                   : distance     ? none
                                  : study::not_run);
    theirs.push_back(fmt::format("{:g}", *row.deepfool));
  }
  size_t i = 0;
  bool whole = true;
  for (const Column& column : published(lab.protocol)) {
    const Json* values = lab.attack(row.network, column.attempt);
    whole = whole && values;
    found.success[column.name] = percent_of(values);
    ours.push_back(lab.shown_success(column.attempt, values));
    theirs.push_back(fmt::format("{:g}", row.success.at(i++)));
  }
  ours.push_back(found.average() ? fmt::format("{:.2f}", *found.average()) : whole ? none : study::not_run);
  theirs.push_back(fmt::format("{:.2f}", row.average()));
  if (!row.misprint.empty()) theirs.back() += fmt::format(" (printed {})", row.misprint);
  table.add(ours);
  table.add(theirs);
  return found;
}

/// One row; the strongest of its attacks goes into `found`.
void add_adaptive(Laboratory& lab, const Defended& d, Table& table, Measured& found) {
  const Protocol& p = lab.protocol;
  const bool drawn = lab.answers_by_draw(d.name), hashed = std::string(d.name).starts_with("hash");
  std::vector<std::string> row{p.label + d.name};
  const Json* zeros = lab.zero_gradients(d.name);
  found.zero = percent_of(zeros, "float32");
  for (const char* type : {"float32", "float64"}) row.push_back(shown(zeros, type));
  const auto add = [&](bool applies, const Attempt& attempt) -> std::optional<double> {
    row.push_back(none);
    if (!applies) return {};
    const Json* values = lab.attack(d.name, attempt);
    row.back() = lab.shown_success(attempt, values);
    const std::optional<double> success = percent_of(values);
    if (success && !attempt.targeted) found.strongest = std::max(found.strongest.value_or(0), *success);
    return success;
  };
  add(true, {fmt::format("fgsm:eps={},loss=ce-exact", p.eps), p.untargeted, 2});
  add(true, exact_bim(p));
  add(true, {fmt::format("pgd:eps={},step={},iters=20,loss=margin", p.eps, p.pgd_step), p.untargeted, 40});
  Attempt twin = published(p, "BIM");
  twin.crafted_on = d.twin;
  add(*d.twin != '\0', twin);
  add(drawn, bim_over_draws(p));
  if (drawn)
    found.cw = add(true, cw_on_mean(p, d.name));
  else
    found.cw = add(hashed, {p.strong_cw.attack, p.targeted, p.strong_cw.passes, true});
  table.add(row);
}

/// Of the paper.
double best_sign(const PaperRow& row) { return std::max({row.success[0], row.success[1], row.success[2]}); }

/// Of the paper.
double cw_of(const Protocol& p, const PaperRow& row) {
  const std::vector<Column> columns = published(p);
  for (size_t i = 0; i < columns.size(); ++i)
    if (std::string(columns[i].name) == "C&W") return row.success.at(i);
  fail("liu2021: C&W is not among the published attacks");
}

std::string distance_finding(const Protocol& p, const std::map<std::string, Measured>& found) {
  const auto original = found.at("original").deepfool, hash = found.at("hash").deepfool;
  if (!original || !hash) return "B-T2, DeepFool's distance on the hash classifier: not measured.";
  const double gain = *hash / *original;
  const double paper = *p.paper->row("hash").deepfool / *p.paper->row("original").deepfool;
  return fmt::format("B-T2: DeepFool goes {:.2f} times as far on the hash classifier (paper: {:.2f}): {}.",
                     gain, paper, verdict(gain - 1, paper - 1));
}

/// The paper does not give eps: at what eps would its FGSM be as successful?
Table eps_table(Laboratory& lab) {
  const Protocol& p = lab.protocol;
  Table table{
      "t2_eps",
      fmt::format("{}: FGSM on the original network over eps (the paper's {:g} % is at an eps that it "
                  "does not give)",
                  p.title, p.paper->row("original").success[0]),
      {"eps", "success, %"},
      {},
      {}};
  for (const double e : p.eps_swept)
    table.add({fmt::format("{:g}", e),
               shown(lab.attack("original", {fmt::format("fgsm:eps={}", e), p.untargeted, 2}), "success")});
  table.note = fmt::format("All other tables use eps {:g}.", p.eps);
  return table;
}

}  // namespace

std::optional<double> Measured::average() const {
  double sum = 0;
  for (const auto& [column, percent] : success) {
    if (!percent) return {};
    sum += *percent;
  }
  return sum / static_cast<double>(success.size());
}

std::optional<double> Measured::gradient_sign() const {
  const auto fgsm = success.at("FGSM"), bim = success.at("BIM"), mim = success.at("MIM");
  if (!fgsm || !bim || !mim) return {};
  return std::max({*fgsm, *bim, *mim});
}

WhiteBoxTables white_box_tables(const Protocol& p, const std::string& stem, const std::string& heading) {
  return {published_table(p, stem, heading), adaptive_table(p, stem)};
}

Measured measure(Laboratory& lab, const PaperRow& row, WhiteBoxTables& tables) {
  Measured found = add_published(lab, row, tables.published);
  add_adaptive(lab, defended_as(row.network), tables.adaptive, found);
  return found;
}

std::string average_finding(const std::string& where, const Protocol& p, const std::string& network,
                            const std::map<std::string, Measured>& found) {
  const auto before = found.at("original").average(), after = found.at(network).average();
  if (!before || !after)
    return fmt::format("{}, {} against the paper's attacks: not measured.", where, network);
  const double from = p.paper->row("original").average(), to = p.paper->row(network).average();
  return fmt::format(
      "{}: {} lowers the average success of the paper's {} attacks from {:.2f} to {:.2f} % (paper: {:.2f} to "
      "{:.2f}): {}.",
      where, network, found.at(network).success.size(), *before, *after, from, to,
      verdict(*before - *after, from - to));
}

std::string inhibition_finding(const std::string& where, const Protocol& p, const std::string& network,
                               const std::map<std::string, Measured>& found) {
  const Measured& measured = found.at(network);
  const auto sign = measured.gradient_sign(), before = found.at("original").gradient_sign();
  if (!sign || !before || !measured.zero || !measured.strongest)
    return fmt::format("{}, {} against FGSM, BIM and MIM: not measured.", where, network);
  const double from = best_sign(p.paper->row("original")), to = best_sign(p.paper->row(network));
  return fmt::format(
      "{}: under {} the best of FGSM, BIM and MIM falls from {:.2f} to {:.2f} % (paper: {:g} to {:g}): as "
      "published, {}. In float32 {:.2f} % of the gradients are exactly zero; an attack of the same budget "
      "that is not misled finds {:.2f} %: against it, {}.",
      where, network, *before, *sign, from, to, verdict(*before - *sign, from - to), *measured.zero,
      *measured.strongest, verdict(*before - *measured.strongest, from - to));
}

std::string cw_finding(const std::string& where, const Protocol& p, const std::string& network,
                       const std::map<std::string, Measured>& found) {
  const Measured& measured = found.at(network);
  const auto before = found.at("original").success.at("C&W"), after = measured.success.at("C&W");
  if (!before || !after || !measured.cw)
    return fmt::format("{}, {} against C&W: not measured.", where, network);
  const double from = cw_of(p, p.paper->row("original")), to = cw_of(p, p.paper->row(network));
  return fmt::format(
      "{}: under {} C&W falls from {:.2f} to {:.2f} % (paper: {:g} to {:g}): as published, {}; adaptive C&W "
      "finds {:.2f} %: against it, {}.",
      where, network, *before, *after, from, to, verdict(*before - *after, from - to), *measured.cw,
      verdict(*before - *measured.cw, from - to));
}

Part clean_accuracy(Laboratory& lab) {
  const Protocol& p = lab.protocol;
  Table table{"t1_accuracy",
              fmt::format("Clean accuracy, {}, % (B-T1)", p.title),
              {"network", "accuracy", "paper"},
              {},
              {}};
  std::vector<std::optional<double>> ours;
  double paper_loss = 0;
  for (const PaperRow& row : p.paper->white_box) {
    const Json* values = lab.accuracy(row.network);
    table.add({row.network, shown(values, "accuracy"), fmt::format("{:g}", row.accuracy)});
    ours.push_back(percent_of(values, "accuracy"));
    paper_loss = std::max(paper_loss, p.paper->row("original").accuracy - row.accuracy);
  }
  table.note = fmt::format(
      "n = {}; brackets: 95 % Wilson interval; hash layers at {}, {}; GI of eps {:g}, {:g}, {:g} on {}, "
      "behind hash layers on {}; GI3 by the vote of {} draws.",
      p.accuracy, rate_name(lab.hash_rates().first), rate_name(lab.hash_rates().second), p.gi1, p.gi2, p.gi3,
      lab.inhibited("original"), lab.inhibited("hash"), judge_draws);
  if (!std::all_of(ours.begin(), ours.end(), [](const auto& a) { return a.has_value(); }))
    return {{table}, {}, {"B-T1: not measured."}};
  const double loss = *ours.front() - **std::min_element(ours.begin(), ours.end());
  const double admitted = std::max(1.0, paper_loss);
  return {{table},
          {},
          {fmt::format("B-T1: the defences cost at most {:.2f} points of accuracy (paper: {:.2f}; up to {:g} "
                       "admitted): {}.",
                       loss, paper_loss, admitted, study::verdict(loss <= admitted))}};
}

Part white_box(Laboratory& lab) {
  const Protocol& p = lab.protocol;
  WhiteBoxTables tables = white_box_tables(p, "t2", fmt::format("White box, {}: success, % (B-T2)", p.title));
  std::map<std::string, Measured> found;
  for (const PaperRow& row : p.paper->white_box) found[row.network] = measure(lab, row, tables);
  Part part{{tables.published, tables.adaptive, eps_table(lab)},
            {},
            {average_finding("B-T2", p, "hash+GI3", found)}};
  for (const Defended& d : defended)
    if (*d.method != '\0') part.findings.push_back(inhibition_finding("B-T2", p, d.name, found));
  part.findings.push_back(distance_finding(p, found));
  for (const char* name : {"hash", "GI3", "hash+GI3"})
    part.findings.push_back(cw_finding("B-T2", p, name, found));
  return part;
}

}  // namespace hashgrad::liu2021
