// B-T5 and B-T6: residual networks, original and with a hash classifier under GI3.
#include "experiments/liu2021/white_box.h"

namespace hashgrad::liu2021 {
namespace {

/// "held" when every one of these differences, in points, is at most `admitted`.
std::string loss_finding(const std::vector<std::optional<double>>& losses, double paper, double admitted) {
  double most = 0;
  for (const auto& loss : losses) {
    if (!loss) return "B-T5: not measured.";
    most = std::max(most, *loss);
  }
  return fmt::format(
      "B-T5: hash+GI3 costs at most {:.2f} points of accuracy (paper: {:.2f}; up to {:g} "
      "admitted): {}.",
      most, paper, admitted, study::verdict(most <= admitted));
}

}  // namespace

Part residual_accuracy(Laboratory& lab) {
  report::Table table{"t5_residual_accuracy",
                      fmt::format("Clean accuracy of residual networks, {}, % (B-T5)", lab.protocol.title),
                      {"network", "accuracy", "paper"},
                      {},
                      {}};
  std::vector<std::optional<double>> losses;
  double paper_loss = 0;
  for (const auto& its : lab.residual()) {
    const Protocol& p = its->protocol;
    std::vector<std::optional<double>> ours;
    for (const PaperRow& row : p.paper->white_box) {
      const study::Json* values = its->accuracy(row.network);
      table.add({p.label + row.network, study::shown(values, "accuracy"), fmt::format("{:g}", row.accuracy)});
      ours.push_back(percent_of(values, "accuracy"));
    }
    losses.push_back(ours[0] && ours[1] ? std::optional(*ours[0] - *ours[1]) : std::nullopt);
    paper_loss = std::max(paper_loss, p.paper->row("original").accuracy - p.paper->row("hash+GI3").accuracy);
  }
  const Laboratory& first = *lab.residual().at(0);
  const Protocol& p = first.protocol;
  table.note = fmt::format(
      "n = {}; brackets: 95 % Wilson interval; hash layers at {}, {}; GI3 of eps {:g} on the two fully "
      "connected layers{}, by the vote of {} draws.",
      p.accuracy, rate_name(first.hash_rates().first), rate_name(first.hash_rates().second), p.gi3,
      p.gi_convolution ? " and the last convolution" : "", judge_draws);
  return {{table}, {}, {loss_finding(losses, paper_loss, 1)}};
}

Part residual_white_box(Laboratory& lab) {
  const std::string heading =
      fmt::format("Residual networks, white box, {}: success, % (B-T6)", lab.protocol.title);
  WhiteBoxTables tables = white_box_tables(lab.residual().at(0)->protocol, "t6", heading);
  Part part;
  for (const auto& its : lab.residual()) {
    const Protocol& p = its->protocol;
    const std::string where = "B-T6, " + p.label.substr(0, p.label.find(' '));
    std::map<std::string, Measured> found;
    for (const PaperRow& row : p.paper->white_box) found[row.network] = measure(*its, row, tables);
    part.findings.push_back(average_finding(where, p, "hash+GI3", found));
    part.findings.push_back(inhibition_finding(where, p, "hash+GI3", found));
    part.findings.push_back(cw_finding(where, p, "hash+GI3", found));
  }
  part.tables = {tables.published, tables.adaptive};
  return part;
}

}  // namespace hashgrad::liu2021
