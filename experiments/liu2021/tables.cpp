#include "experiments/liu2021/tables.h"

#include <algorithm>
#include <cmath>

#include "experiments/liu2021/networks.h"

namespace hashgrad::liu2021 {
namespace {

using report::Table;
using study::Json;
using study::shown;

/// The success of several attempts on one network as a row, the paper's numbers as another.
struct Pair {
  std::vector<std::string> ours, paper;
  std::vector<std::optional<double>> percent;  // ours

  bool whole() const {
    return std::all_of(percent.begin(), percent.end(), [](const auto& p) { return p.has_value(); });
  }
};

Pair pair_of(Laboratory& lab, const std::string& network, const std::vector<Attempt>& attempts,
             const std::vector<double>& paper) {
  Pair pair{{network, "ours"}, {network, "paper"}, {}};
  for (const Attempt& attempt : attempts) {
    const Json* values = lab.attack(network, attempt);
    pair.ours.push_back(lab.shown_success(attempt, values));
    pair.percent.push_back(percent_of(values));
  }
  for (const double number : paper) pair.paper.push_back(fmt::format("{:g}", number));
  return pair;
}

// B-T3

/// sub-FGSM, ZOO, sub-CW, ZOO targeted.
std::vector<Attempt> black_box_attempts(const Protocol& p, const std::string& network) {
  Attempt fgsm = published(p, "FGSM"), cw = published(p, "C&W");
  fgsm.crafted_on = cw.crafted_on = substitute_of(network);
  fgsm.skip = cw.skip = p.seeds;
  fgsm.images = std::min(p.untargeted, p.test_images - p.seeds);
  return {fgsm,
          {.attack = p.zoo.attack, .images = p.queries, .passes = p.zoo.passes, .skip = p.seeds},
          cw,
          {.attack = p.zoo.attack,
           .images = p.queries_targeted,
           .passes = p.zoo.passes,
           .targeted = true,
           .skip = p.seeds}};
}

/// ZOO that sees logits, untargeted and targeted.
std::vector<Attempt> logit_attempts(const Protocol& p, const std::string& network) {
  const std::vector<Attempt> all = black_box_attempts(p, network);
  std::vector<Attempt> zoo{all[1], all[3]};
  for (Attempt& a : zoo) a.attack += a.attack.find(':') == std::string::npos ? ":on=logits" : ",on=logits";
  return zoo;
}

std::string query_finding(const std::string& network, const Pair& original, const Pair& row,
                          const Pair& logits, double paper) {
  if (!original.whole() || !row.whole() || !logits.whole())
    return fmt::format("B-T3, {}: not measured.", network);
  const double before = *original.percent[1], after = *row.percent[1], seen = *logits.percent[0];
  return fmt::format(
      "B-T3: under {} ZOO on probabilities falls from {:.1f} to {:.1f} % (paper: 100 to {:g}): as published, "
      "{}; ZOO on logits finds {:.1f} %: against it, {}.",
      network, before, after, paper, verdict(before - after, 100 - paper), seen,
      verdict(before - seen, 100 - paper));
}

// B-T4

/// FGSM, JSMA-Z, C&W, BPDA, then two adaptive ones: BIM and C&W.
std::vector<Attempt> transform_attempts(const Laboratory& lab, const std::string& network) {
  const Protocol& p = lab.protocol;
  std::vector<Attempt> attempts;
  for (const char* name : {"FGSM", "JSMA-Z", "C&W", "BPDA"}) attempts.push_back(published(p, name));
  if (lab.answers_by_draw(network)) {
    attempts.push_back(bim_over_draws(p));
    attempts.push_back(cw_on_mean(p, network));
    return attempts;
  }
  for (size_t i = 0; i < 3; ++i) attempts[i].crafted_on = "original";
  attempts[3].stand_ins = true;
  attempts.push_back(exact_bim(p));
  attempts.push_back(published(p, "C&W"));
  for (size_t i = 4; i < 6; ++i) attempts[i].stand_ins = true;
  return attempts;
}

/// Of the paper's rows, in how many columns the last is below all others.
int best_columns(const std::vector<PaperSuccess>& rows) {
  int better = 0;
  for (size_t column = 0; column < rows.back().success.size(); ++column)
    better += std::all_of(rows.begin(), rows.end() - 1, [&](const PaperSuccess& row) {
      return rows.back().success[column] < row.success[column];
    });
  return better;
}

std::string transform_finding(const std::vector<Pair>& rows, const Protocol& p) {
  if (!std::all_of(rows.begin(), rows.end(), [](const Pair& row) { return row.whole(); }))
    return "B-T4: not measured.";
  const Pair& ours = rows.back();
  const int best = best_columns(p.paper->transforms);
  int better = 0;
  for (size_t column = 0; column < 4; ++column)
    better += *ours.percent[column] < std::min(*rows[0].percent[column], *rows[1].percent[column]);
  const auto worst = [](const Pair& row) {
    double most = 0;
    for (const auto& percent : row.percent) most = std::max(most, *percent);
    return most;
  };
  return fmt::format(
      "B-T4: hash+GI3 has the lowest success of the three in {} of the paper's 4 columns (paper: {}): {}. "
      "The strongest attack of the row, adaptive ones included, finds {:.2f} % on {}, {:.2f} % on median "
      "2x2, {:.2f} % on hash+GI3.",
      better, best, study::verdict(better >= best), worst(rows[0]), quantised(p), worst(rows[1]),
      worst(ours));
}

}  // namespace

std::vector<Column> published(const Protocol& p) {
  const std::string bim = fmt::format("bim:eps={},step={},iters=10", p.eps, p.bim_step);
  const std::string mim = fmt::format("mim:eps={},step={},iters=10,decay=1", p.eps, p.mim_step);
  std::vector<Column> columns{{"FGSM", {fmt::format("fgsm:eps={}", p.eps), p.untargeted, 2}},
                              {"BIM", {bim, p.untargeted, 20}},
                              {"MIM", {mim, p.untargeted, 20}}};
  if (p.jsma) {
    columns.push_back({"JSMA-F", {"jsma:on=probs,theta=1,gamma=0.1", p.targeted, 80, true}});
    columns.push_back({"JSMA-Z", {"jsma:on=logits,theta=1,gamma=0.1", p.targeted, 120, true}});
  }
  columns.push_back({"C&W", {p.cw.attack, p.targeted, p.cw.passes, true}});
  columns.push_back({"EAD", {p.ead.attack, p.targeted, p.ead.passes, true}});
  columns.push_back({"BPDA", {bim + ",loss=ce-sigmoid", p.bpda, 20}});
  return columns;
}

Attempt published(const Protocol& protocol, const std::string& name) {
  for (const Column& column : published(protocol))
    if (column.name == name) return column.attempt;
  fail("liu2021: no column is named {}", name);
}

Attempt exact_bim(const Protocol& p) {
  Attempt attempt = published(p, "BIM");
  attempt.attack += ",loss=ce-exact";
  return attempt;
}

Attempt bim_over_draws(const Protocol& p) {
  Attempt attempt = exact_bim(p);
  attempt.attack += ",no-early-stop";
  attempt.images = p.eot;
  attempt.draws = eot_draws;
  return attempt;
}

Attempt cw_on_mean(const Protocol& p, const std::string& gi3) {
  Attempt attempt = published(p, "C&W");
  attempt.crafted_on = mean_network(gi3);
  attempt.lead = 0.1;
  return attempt;
}

std::string targets_of(const Protocol& p) {
  return p.targets == Targets::all
             ? fmt::format("{} images that are right x every other class", p.targeted)
             : fmt::format("{} images that are right, the class behind the label", p.targeted);
}

std::optional<double> percent_of(const Json* values, const char* name) {
  if (values == nullptr) return {};
  const Rate rate = study::rate_from(values->at(name));
  if (rate.trials == 0) return {};
  return 100 * rate.value();
}

std::string short_percent(const Json* values, const char* name) {
  const auto percent = percent_of(values, name);
  return percent ? fmt::format("{:.2f}", *percent) : values ? "-" : study::not_run;
}

std::string verdict(double effect, double paper) { return study::verdict(effect >= paper / 2); }

Part black_box(Laboratory& lab) {
  const Protocol& p = lab.protocol;
  Table table{
      "t3_black_box",
      fmt::format("Black box, {}: success, % (B-T3)", p.title),
      {"network", "by", "sub-FGSM", "ZOO", "sub-CW, targeted", "ZOO, targeted", "ZOO on logits",
       "ZOO on logits, targeted"},
      {},
      fmt::format(
          "sub: crafted on a network ({}) trained on the victim's answers from the first {} test images, "
          "which are left out. ZOO: {} images, {} x 9 targeted, on the published score log(p + 1e-30), "
          "constant where softmax saturates; on logits: the same differences of logits. C&W with kappa 0. "
          "success and intervals as in B-T2; GI3 judged by {} draws.",
          p.substitute, p.seeds, p.queries, p.queries_targeted, judge_draws)};
  Part part;
  std::optional<Pair> original;
  for (const PaperSuccess& row : p.paper->black_box) {
    Pair pair = pair_of(lab, row.network, black_box_attempts(p, row.network), row.success);
    const Pair logits = pair_of(lab, row.network, logit_attempts(p, row.network), {});
    pair.ours.insert(pair.ours.end(), logits.ours.begin() + 2, logits.ours.end());
    pair.paper.insert(pair.paper.end(), {"-", "-"});
    table.add(pair.ours);
    table.add(pair.paper);
    if (!original) original = pair;
    if (lab.answers_by_draw(row.network))
      part.findings.push_back(query_finding(row.network, *original, pair, logits, row.success[1]));
  }
  part.tables.push_back(table);
  return part;
}

Part input_transformations(Laboratory& lab) {
  const Protocol& p = lab.protocol;
  Table table{
      "t4_input_transformations",
      fmt::format("Beside input transformations, {}: success, % (B-T4)", p.title),
      {"defence", "by", "FGSM", "JSMA-Z", "C&W", "BPDA", "adaptive BIM", "adaptive C&W"},
      {},
      fmt::format("transforms: FGSM, JSMA-Z and C&W are crafted on the network without the transform, whose "
                  "gradient is zero or useless (our reading); BPDA and the adaptive columns differentiate "
                  "past it. hash+GI3: adaptive BIM over {} draws (n = {}), C&W on its mean network. success, "
                  "n and intervals as in B-T2.",
                  eot_draws, p.eot)};
  std::vector<Pair> rows;
  for (const PaperSuccess& row : p.paper->transforms) {
    rows.push_back(pair_of(lab, row.network, transform_attempts(lab, row.network), row.success));
    rows.back().paper.insert(rows.back().paper.end(), {"-", "-"});
    table.add(rows.back().ours);
    table.add(rows.back().paper);
  }
  return {{table}, {}, {transform_finding(rows, p)}};
}

Part other_compression(Laboratory& lab) {
  Table table{"t7_compression",
              fmt::format("Other compression, {}: success, % (B-T7)", lab.protocol.title),
              {"network", "by", "FGSM", "JSMA-Z", "C&W"},
              {},
              "pruned: a tenth of the weights kept, retrained (the paper gives no rate); bits: k-means per "
              "layer, 256 or 8 values. success, n and "
              "intervals as in B-T2."};
  std::vector<Attempt> attempts;
  for (const char* name : {"FGSM", "JSMA-Z", "C&W"}) attempts.push_back(published(lab.protocol, name));
  std::optional<Pair> original;
  bool whole = true;
  double most = 0;
  for (const PaperSuccess& row : lab.protocol.paper->compressed) {
    const Pair pair = pair_of(lab, row.network, attempts, row.success);
    table.add(pair.ours);
    table.add(pair.paper);
    if (!original) original = pair;
    whole = whole && pair.whole();
    for (size_t i = 0; whole && i < attempts.size(); ++i)
      most = std::max(most, std::abs(*pair.percent[i] - *original->percent[i]));
  }
  if (!whole) return {{table}, {}, {"B-T7: not measured."}};
  return {{table},
          {},
          {fmt::format("B-T7: pruning and weight sharing change success by at most {:.2f} points (paper: "
                       "2.04; held up to 5): {}.",
                       most, study::verdict(most <= 5))}};
}

}  // namespace hashgrad::liu2021
