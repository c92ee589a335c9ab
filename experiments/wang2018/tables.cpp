#include "experiments/wang2018/tables.h"

#include "experiments/wang2018/findings.h"

namespace hashgrad::wang2018 {
namespace {

using report::Plot;
using report::Series;
using report::Table;
using study::Json;
using study::shown;

const char* const counting =
    "success: the goal is reached (another class than the label; targeted: the target) on the network shown "
    "to, of the "
    "images that it answers rightly without attack; brackets: 95 % Wilson interval";

std::string number(const Json* values, const char* name) {
  return values == nullptr ? study::not_run : fmt::format("{:.2f}", values->at(name).get<double>());
}

/// Crafted on, shown to.
struct Line {
  const char* block;
  std::string source, target;
};

std::vector<Line> lines() {
  return {{"white box", "M0", "M0"}, {"white box", "M1", "M1"}, {"white box", "M2", "M2"},
          {"grey box", "M0", "M1"},  {"grey box", "M0", "M2"},  {"undefended twin", "M1", "M2"}};
}

Table results_table(Experiment& e) {
  const std::vector<Search> attacks = paper_attacks(e.setup());
  Table table{"results",
              "M0, M1 and M2 on MNIST: success, % (D9)",
              {"attack knows", "crafted on", "shown to", "accuracy"},
              {},
              {}};
  for (const Search& attack : attacks) table.columns.push_back(attack.name);
  table.columns.push_back("paper");
  for (const auto& [block, source, target] : lines()) {
    std::vector<std::string> row{block, source, target,
                                 shown(study::share(e.clean(target, attacks[0]), "right"))};
    for (const Search& attack : attacks) row.push_back(shown(e.success(source, target, attack)));
    row.push_back("unavailable");
    table.add(row);
  }
  table.note = fmt::format(
      "{}. n = {} images; C&W: {} images, each towards nine targets; targeted FGSM and BIM aim at the class "
      "behind the "
      "label. White box: the network itself. Grey box: M0, not the defence (D10, our reading). Undefended "
      "twin: M1, "
      "which has M2's weights but for the augmentation. The paper's values are pictures in its slides and "
      "could not be "
      "read: paper value unavailable.",
      counting, e.setup().attacked, e.setup().cw_images);
  return table;
}

Table stronger_table(Experiment& e) {
  const std::vector<Search> attacks = stronger_attacks(e.setup());
  Table table{"adaptive",
              "White-box success of attacks that need no float32 softmax, %",
              {"network", "median lead", "zero gradients", "the same, float64"},
              {},
              {}};
  for (const Search& attack : attacks) table.columns.push_back(attack.name);
  table.columns.push_back("its median L2");
  for (const std::string& name : network_names) {
    const Json* gradients =
        name == "M0" ? e.plain_gradients() : e.gradients(name == "M1" ? 0 : e.setup().eps);
    std::vector<std::string> row{name, number(gradients, "median_lead"),
                                 shown(study::share(gradients, "zero")),
                                 shown(study::share(gradients, "zero64"))};
    for (const Search& attack : attacks) row.push_back(shown(e.success(name, name, attack)));
    row.push_back(number(e.crafted_on(name, attacks.back()), "median_l2"));
    table.add(row);
  }
  table.note = fmt::format(
      "{}. n = {} images; C&W: {} images, each towards nine targets. Exact: along the direction of the "
      "cross-entropy "
      "computed without underflow. Lead: the label's logit less the largest other. Zero gradients: share of "
      "images whose "
      "cross-entropy gradient is exactly 0, so that FGSM and BIM do not move them.",
      counting, e.setup().scrutinised, e.setup().cw_images);
  return table;
}

std::optional<Rate> success_at(Experiment& e, double eps, const Search& attack) {
  const Json* values = e.augmented(eps, attack);
  if (values == nullptr) return std::nullopt;
  return study::share_of(values->at("reached").get<study::Outcomes>(),
                         values->at("right").get<study::Outcomes>());
}

Table strength_table(Experiment& e) {
  const std::vector<Search> attacks = figure_attacks(e.setup());
  Table table{"strength",
              "Logits augmentation of M1 by eps: success, %",
              {"eps", "accuracy", "median lead", "p = 1", "lead > 87.3", "lead > 104", "zero gradients",
               "the same, float64"},
              {},
              {}};
  for (const Search& attack : attacks) table.columns.push_back(attack.name);
  for (const double eps : e.setup().strengths) {
    const Json* gradients = e.gradients(eps);
    std::vector<std::string> row{fmt::format("{:g}", eps),
                                 shown(study::share(e.augmented(eps, attacks[0]), "right")),
                                 number(gradients, "median_lead")};
    for (const char* name : {"certain", "beyond_ftz", "beyond", "zero", "zero64"})
      row.push_back(shown(study::share(gradients, name)));
    for (const Search& attack : attacks) row.push_back(shown(success_at(e, eps, attack)));
    table.add(row);
  }
  table.note = fmt::format(
      "{}. n = {} images. The authors' program recommends eps 20 and has 100 as a default. p = 1: the "
      "label's "
      "float32 probability is exactly 1, from a lead of 17 or so (float64: 37) on; 1 - p is then 0, and the "
      "gradient has lost the label's part long before it is zero. Beyond a lead of "
      "104 every "
      "float32 probability but the label's is 0; where denormal numbers are flushed, beyond 87.3.",
      counting, e.setup().scrutinised);
  return table;
}

/// A vertical line where the median lead passes `lead`, between two strengths by the straight line.
Series threshold(Experiment& e, double lead, const char* label) {
  Series line{label, {}, {}};
  const std::vector<double>& strengths = e.setup().strengths;
  for (size_t i = 1; i < strengths.size(); ++i) {
    const Json *a = e.gradients(strengths[i - 1]), *b = e.gradients(strengths[i]);
    if (a == nullptr || b == nullptr) continue;
    const double before = a->at("median_lead").get<double>(), after = b->at("median_lead").get<double>();
    if (!(before < lead && lead <= after)) continue;
    const double x =
        strengths[i - 1] + (lead - before) / (after - before) * (strengths[i] - strengths[i - 1]);
    line.x = {x, x};
    line.y = {0, 100};
  }
  return line;
}

Plot strength_plot(Experiment& e) {
  Plot plot{"strength", "Logits augmentation of M1: success and zero gradients", "eps", "%", {}, {}};
  for (const Search& attack : figure_attacks(e.setup())) {
    Series series{attack.name, {}, {}};
    for (const double eps : e.setup().strengths)
      if (const std::optional<Rate> rate = success_at(e, eps, attack)) {
        series.x.push_back(eps);
        series.y.push_back(100 * rate->value());
      }
    plot.series.push_back(series);
  }
  Series zero{"zero gradients", {}, {}};
  for (const double eps : e.setup().strengths)
    if (const std::optional<Rate> rate = study::share(e.gradients(eps), "zero")) {
      zero.x.push_back(eps);
      zero.y.push_back(100 * rate->value());
    }
  plot.series.push_back(zero);
  for (const Series& line : {threshold(e, lead_of_smallest_normal, "median lead 87.3"),
                             threshold(e, lead_of_zero, "median lead 104")})
    if (!line.x.empty()) plot.series.push_back(line);
  return plot;
}

std::string training_text(const Training& t) {
  return fmt::format("{} epochs of {} images, batch {}", t.epochs, t.images, t.batch);
}

}  // namespace

study::Page page_of(Experiment& e, const study::PaperFlags& flags) {
  const Setup& setup = e.setup();
  study::Page page{
      .title = "Pruning and logits augmentation against adversarial images",
      .source =
          "The measurements of Wang et al., GlobalSIP 2018, repeated on MNIST: a plain network (M0), pruned "
          "in "
          "twenty small steps (M1), and with its logits enlarged (M2), under FGSM, BIM and C&W; and under "
          "attacks "
          "that larger logits do not stop.",
      .findings = {},
      .origin = {{"data", fmt::format("{}, test split", setup.data)},
                 {"network", setup.network},
                 {"M0", training_text(setup.base) + ", Adam at 0.001, targets 0.9 and 0.1 / 9"},
                 {"M1", fmt::format("{} rounds of {:g} % of conv, {:g} % of fc weights; after each {}",
                                    setup.pruning.rounds, setup.pruning.conv_percent,
                                    setup.pruning.fc_percent, training_text(setup.retraining))},
                 {"M2", fmt::format("M1, weights of its last layer times {:g}", 1 + setup.eps)}},
      .tables = {},
      .plots = {}};
  if (flags.table("results")) page.tables.push_back(results_table(e));
  if (flags.table("adaptive")) page.tables.push_back(stronger_table(e));
  if (flags.figure("strength")) {
    page.tables.push_back(strength_table(e));
    page.plots.push_back(strength_plot(e));
  }
  page.findings = findings(e, flags);
  return page;
}

}  // namespace hashgrad::wang2018
