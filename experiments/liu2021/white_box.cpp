#include <algorithm>

#include "experiments/liu2021/networks.h"
#include "experiments/liu2021/tables.h"

namespace hashgrad::liu2021 {
namespace {

using report::Table;
using study::Json;
using study::shown;

constexpr const char* none = "-";

/// MNIST rows, in the order of `defended`: B-T1, then B-T2 with its columns DF, eight attacks, AVG.
constexpr double paper_accuracy[] = {99.5, 99.25, 99.47, 99.5, 99.44, 99.21, 99.26, 99.25};
struct PaperRow {
  double deepfool;
  std::array<double, 8> success;
  const char* average;
};
constexpr PaperRow paper_rows[] = {
    {0.0863, {72.8, 97.82, 99.1, 95.44, 90.22, 100, 100, 92.2}, "93.45"},
    {0.1253, {62.66, 87.32, 86.23, 60.89, 32.22, 56.67, 78.44, 25.6}, "61.25"},
    {0.0857, {3.28, 3.14, 3.35, 0.33, 89.11, 100, 100, 83.5}, "47.84 (printed 56.55)"},
    {0.0868, {0.45, 0.63, 1.02, 0.22, 90.56, 100, 100, 89.5}, "47.8"},
    {0.0872, {3.45, 3.24, 3.28, 0.44, 89.44, 24.33, 54.56, 83.7}, "32.8"},
    {0.1259, {3.25, 3.31, 3.02, 0.89, 25.33, 82.22, 79.67, 22.8}, "27.56"},
    {0.1269, {0.91, 0.95, 1.15, 0.44, 28.44, 75.33, 76.56, 25.2}, "26.12"},
    {0.1275, {3.21, 3.4, 3.2, 0.78, 24.44, 5.44, 52.56, 22.1}, "14.39"}};

/// What was measured of one network, in percent; nothing where a cell was not run.
struct Measured {
  std::array<std::optional<double>, 8> success;
  std::optional<double> deepfool;   // relative distance
  std::optional<double> zero;       // share of float32 gradients that are 0
  std::optional<double> strongest;  // adaptive attack within eps
  std::optional<double> cw;         // adaptive C&W

  std::optional<double> average() const {
    double sum = 0;
    for (const auto& s : success) {
      if (!s) return {};
      sum += *s;
    }
    return sum / static_cast<double>(success.size());
  }
  /// The largest of FGSM, BIM, MIM.
  std::optional<double> gradient_sign() const {
    if (!success[0] || !success[1] || !success[2]) return {};
    return std::max({*success[0], *success[1], *success[2]});
  }
};

Attempt deepfool(const Protocol& p) { return {"deepfool", p.deepfool, 66}; }

Table white_box_table(const Protocol& p) {
  Table table{"t2_white_box", "White box, MNIST: success, % (B-T2)", {"network", "by", "DF"}, {}, {}};
  for (const Column& column : published(p)) table.columns.push_back(column.name);
  table.columns.push_back("AVG");
  table.note = fmt::format(
      "success: the prediction is not the label, of the first {} test images ({} for BPDA, {} for DF) that "
      "are right before; "
      "JSMA, C&W, EAD: the prediction is the target, {} images that are right x 9 targets; brackets: 95 % "
      "Wilson interval, which takes rows for independent, as the nine targets of an image are not. DF: "
      "DeepFool, mean ||r||/||x|| in l2 over its successes. BPDA: BIM with a sigmoid for softmax "
      "(B-E2c). GI3 is attacked along one draw, as papers do, and judged by {}.",
      p.untargeted, p.bpda, p.deepfool, p.targeted, judge_draws);
  return table;
}

/// Two rows: ours and the paper's.
Measured add_rows(Laboratory& lab, size_t row, Table& table) {
  const char* name = defended[row].name;
  Measured found;
  std::vector<std::string> ours{name, "ours"},
      theirs{name, "paper", fmt::format("{:g}", paper_rows[row].deepfool)};
  const Json* distance = lab.attack(name, deepfool(lab.protocol));
  if (distance && distance->at("relative_l2").is_number())
    found.deepfool = distance->at("relative_l2").get<double>();
  ours.push_back(found.deepfool ? fmt::format("{:.4f}", *found.deepfool) : distance ? none : study::not_run);
  size_t i = 0;
  for (const Column& column : published(lab.protocol)) {
    const Json* values = lab.attack(name, column.attempt);
    found.success[i] = percent_of(values);
    ours.push_back(shown(values, "success"));
    theirs.push_back(fmt::format("{:g}", paper_rows[row].success[i++]));
  }
  ours.push_back(found.average() ? fmt::format("{:.2f}", *found.average()) : study::not_run);
  theirs.push_back(paper_rows[row].average);
  table.add(ours);
  table.add(theirs);
  return found;
}

Table adaptive_table(const Protocol& p) {
  return {
      "t2_adaptive",
      "The same networks under attacks that hidden gradients do not mislead: success, %",
      {"network", "zero gradients", "in float64", "FGSM exact", "BIM exact", "PGD margin", "BIM of its twin",
       "BIM over draws", "C&W"},
      {},
      fmt::format(
          "zero gradients: images whose cross-entropy gradient is exactly 0, so that no attack along it "
          "takes "
          "place (n = {}). exact: the same step and steps along the direction of the cross-entropy computed "
          "without underflow; "
          "PGD margin: 20 steps on z_y - max z_j; of its twin: crafted on the network that the defence was "
          "added to; over draws: exact BIM over {} draws (n = {}). C&W: on hash rows with more constants and "
          "iterations ({}); on GI3 rows "
          "crafted on the network of mean weights GI1(eps/2), leading by a tenth of the median "
          "lead. Otherwise images and intervals as in the table above.",
          p.gradients, eot_draws, p.eot, p.strong_cw.attack)};
}

/// One row; the strongest of its attacks goes into `found`.
void add_adaptive(Laboratory& lab, const Defended& d, Table& table, Measured& found) {
  const Protocol& p = lab.protocol;
  const bool drawn = answers_by_draw(d.name), hashed = std::string(d.name).starts_with("hash");
  std::vector<std::string> row{d.name};
  const Json* zeros = lab.zero_gradients(d.name);
  found.zero = percent_of(zeros, "float32");
  for (const char* type : {"float32", "float64"}) row.push_back(shown(zeros, type));
  const auto add = [&](bool applies, const Attempt& attempt) -> std::optional<double> {
    row.push_back(none);
    if (!applies) return {};
    const Json* values = lab.attack(d.name, attempt);
    row.back() = shown(values, "success");
    const std::optional<double> success = percent_of(values);
    if (success && !attempt.targeted) found.strongest = std::max(found.strongest.value_or(0), *success);
    return success;
  };
  add(true, {fmt::format("fgsm:eps={},loss=ce-exact", eps), p.untargeted, 2});
  add(true, exact_bim(p));
  add(true, {fmt::format("pgd:eps={},step=0.03,iters=20,loss=margin", eps), p.untargeted, 40});
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

std::string average_finding(const std::array<Measured, 8>& found) {
  const auto before = found[0].average(), after = found[7].average();
  if (!before || !after) return "B-T2, hash+GI3 against the paper's attacks: not run.";
  return fmt::format(
      "B-T2: hash+GI3 lowers the average success of the paper's eight attacks from {:.2f} to {:.2f} % "
      "(paper: 93.45 to 14.39): {}.",
      *before, *after, verdict(*before - *after, 93.45 - 14.39));
}

std::string inhibition_finding(const Defended& d, const Measured& found, const Measured& original,
                               double paper) {
  const auto sign = found.gradient_sign(), before = original.gradient_sign();
  if (!sign || !before || !found.zero || !found.strongest)
    return fmt::format("B-T2, {} against FGSM, BIM and MIM: not run.", d.name);
  const double lowered = *before - *sign, really = *before - *found.strongest;
  return fmt::format(
      "B-T2: under {} the best of FGSM, BIM and MIM falls from {:.2f} to {:.2f} % (paper: 99.1 to {:g}): as "
      "published, {}. "
      "In float32 {:.2f} % of the gradients are exactly zero; an attack of the same budget that is not "
      "misled "
      "finds {:.2f} %: against it, {}.",
      d.name, *before, *sign, paper, verdict(lowered, 99.1 - paper), *found.zero, *found.strongest,
      verdict(really, 99.1 - paper));
}

std::string distance_finding(const std::array<Measured, 8>& found) {
  if (!found[0].deepfool || !found[1].deepfool)
    return "B-T2, DeepFool's distance on the hash classifier: not run.";
  const double gain = *found[1].deepfool / *found[0].deepfool;
  return fmt::format("B-T2: DeepFool goes {:.2f} times as far on the hash classifier (paper: 1.45): {}.",
                     gain, verdict(gain - 1, 0.45));
}

std::string cw_finding(const std::array<Measured, 8>& found, size_t row, double paper) {
  const auto before = found[0].success[5], after = found[row].success[5], adaptive = found[row].cw;
  const char* name = defended[row].name;
  if (!before || !after || !adaptive) return fmt::format("B-T2, {} against C&W: not run.", name);
  return fmt::format(
      "B-T2: under {} C&W falls from {:.2f} to {:.2f} % (paper: 100 to {:g}): as published, {}; adaptive C&W "
      "finds {:.2f} %: "
      "against it, {}.",
      name, *before, *after, paper, verdict(*before - *after, 100 - paper), *adaptive,
      verdict(*before - *adaptive, 100 - paper));
}

/// The paper does not give eps: what eps would its 72.8 % be at?
Table eps_table(Laboratory& lab) {
  Table table{"t2_eps",
              "FGSM on the original network over eps (the paper's 72.8 % is at an eps that it does not give)",
              {"eps", "success, %"},
              {},
              {}};
  for (const double e : {0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5})
    table.add({fmt::format("{:g}", e),
               shown(lab.attack("original", {fmt::format("fgsm:eps={}", e), lab.protocol.untargeted, 2}),
                     "success")});
  table.note = fmt::format("All other tables use eps {:g}.", eps);
  return table;
}

}  // namespace

Part clean_accuracy(Laboratory& lab) {
  Table table{"t1_accuracy", "Clean accuracy, MNIST, % (B-T1)", {"network", "accuracy", "paper"}, {}, {}};
  std::optional<double> original, least;
  bool whole = true;
  for (size_t i = 0; i < defended.size(); ++i) {
    const Json* values = lab.accuracy(defended[i].name);
    table.add({defended[i].name, shown(values, "accuracy"), fmt::format("{:g}", paper_accuracy[i])});
    const auto accuracy = percent_of(values, "accuracy");
    whole = whole && accuracy;
    if (i == 0) original = accuracy;
    if (accuracy) least = std::min(least.value_or(100), *accuracy);
  }
  table.note = fmt::format(
      "n = {}; brackets: 95 % Wilson interval; hash layers at {}, {}; GI on the last three layers, eps 0.1, "
      "3, 0.2; GI3 by the vote of {} draws.",
      lab.protocol.accuracy, rate_name(lab.hash_rule().first), rate_name(lab.hash_rule().second),
      judge_draws);
  if (!whole) return {{table}, {}, {"B-T1: not run."}};
  const double loss = *original - *least;
  return {{table},
          {},
          {fmt::format(
              "B-T1: the defences cost at most {:.2f} points of accuracy (paper: 0.29; it admits 1): {}.",
              loss, loss <= 1 ? "held" : "did not hold")}};
}

Part white_box(Laboratory& lab) {
  Table table = white_box_table(lab.protocol), adaptive = adaptive_table(lab.protocol);
  std::array<Measured, 8> found;
  for (size_t i = 0; i < defended.size(); ++i) {
    found[i] = add_rows(lab, i, table);
    add_adaptive(lab, defended[i], adaptive, found[i]);
  }
  Part part{{table, adaptive, eps_table(lab)}, {}, {average_finding(found)}};
  for (const size_t i : {2, 3, 4, 5, 6, 7}) {
    const auto& paper = paper_rows[i].success;
    part.findings.push_back(
        inhibition_finding(defended[i], found[i], found[0], std::max({paper[0], paper[1], paper[2]})));
  }
  part.findings.push_back(distance_finding(found));
  for (const size_t i : {1, 4, 7}) part.findings.push_back(cw_finding(found, i, paper_rows[i].success[5]));
  return part;
}

}  // namespace hashgrad::liu2021
