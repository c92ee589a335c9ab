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
    "to, of the images that it answers rightly without attack; brackets: 95 % Wilson interval";

std::string number(const Json* values, const char* name) {
  return values == nullptr ? study::not_run : fmt::format("{:.2f}", values->at(name).get<double>());
}

/// Crafted on, shown to.
struct Line {
  const char* block;
  std::string source, target;
};

std::vector<Line> lines(const Setup& setup) {
  const auto& [m0, m1, m2] = setup.names;
  return {{"white box", m0, m0}, {"white box", m1, m1}, {"white box", m2, m2},
          {"grey box", m0, m1},  {"grey box", m0, m2},  {"undefended twin", m1, m2}};
}

/// As people write it.
std::string data_name(const Setup& setup) {
  return setup.data == "cifar10" ? "CIFAR-10" : setup.data == "mnist" ? "MNIST" : setup.data;
}

Table results_table(Experiment& e) {
  const std::vector<Search> attacks = paper_attacks(e.setup());
  const auto& [m0, m1, m2] = e.setup().names;
  Table table{"results",
              fmt::format("{}, {} and {} on {}: success, %", m0, m1, m2, data_name(e.setup())),
              {"attack knows", "crafted on", "shown to", "accuracy"},
              {},
              {}};
  for (const Search& attack : attacks) table.columns.push_back(attack.name);
  table.columns.push_back("paper");
  for (const auto& [block, source, target] : lines(e.setup())) {
    std::vector<std::string> row{block, source, target,
                                 shown(study::share(e.clean(target, attacks[0]), "right"))};
    for (const Search& attack : attacks) row.push_back(shown(e.success(source, target, attack)));
    row.push_back("unavailable");
    table.add(row);
  }
  table.note = fmt::format(
      "{}. n = {} images; C&W: {} images, each towards nine targets; targeted FGSM and BIM aim at the class "
      "behind the label. White box: the network itself. Grey box: {}, not the defence (our reading). "
      "Undefended twin: {}, which has {}'s weights but for the augmentation. The paper's values are pictures "
      "in its slides and could not be read: paper value unavailable.",
      counting, e.setup().attacked, e.setup().cw_images, m0, m1, m2);
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
  const auto& [m0, m1, m2] = e.setup().names;
  for (const std::string& name : e.setup().names) {
    const Json* gradients = name == m0 ? e.plain_gradients() : e.gradients(name == m1 ? 0 : e.setup().eps);
    std::vector<std::string> row{name, number(gradients, "median_lead"),
                                 shown(study::share(gradients, "zero")),
                                 shown(study::share(gradients, "zero64"))};
    for (const Search& attack : attacks) row.push_back(shown(e.success(name, name, attack)));
    row.push_back(number(e.crafted_on(name, attacks.back()), "median_l2"));
    table.add(row);
  }
  table.note = fmt::format(
      "{}. n = {} images; C&W: {} images, each towards nine targets. Exact: along the direction of the "
      "cross-entropy computed without underflow. Lead: the label's logit less the largest other. Zero "
      "gradients: share of images whose cross-entropy gradient is exactly 0, so that FGSM and BIM do not "
      "move them.",
      counting, e.setup().scrutinised, e.setup().cw_images);
  if (e.setup().usual_radius > 0)
    table.note += fmt::format(
        " All but C&W stay within linf 0.3, the paper's, ten times what CIFAR-10 is usually attacked with; "
        "one stays within {:g}.",
        e.setup().usual_radius);
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
              fmt::format("Logits augmentation of {} by eps: success, %", e.setup().names[1]),
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
      "{}. n = {} images. The authors' program recommends eps {:g} and {}. p = 1: the label's float32 "
      "probability is exactly 1, from a lead of 17 or so (float64: 37) on; 1 - p is then 0, and the gradient "
      "has lost the label's part long before it is zero. Beyond a lead of 104 every float32 probability but "
      "the label's is 0; where denormal numbers are flushed, beyond 87.3.",
      counting, e.setup().scrutinised, e.setup().recommended_eps, e.setup().other_eps);
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
  Plot plot{
      "strength", fmt::format("Logits augmentation of {}: success and zero gradients", e.setup().names[1]),
      "eps",      "%",
      {},         {}};
  for (const Search& attack : figure_attacks(e.setup())) {
    Series series{attack.name, {}, {}};
    for (const double eps : e.setup().strengths)
      if (const std::optional<Rate> rate = success_at(e, eps, attack)) series.add(eps, 100 * rate->value());
    plot.series.push_back(series);
  }
  Series zero{"zero gradients", {}, {}};
  for (const double eps : e.setup().strengths)
    if (const std::optional<Rate> rate = study::share(e.gradients(eps), "zero"))
      zero.add(eps, 100 * rate->value());
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
  const auto& [m0, m1, m2] = setup.names;
  study::Page page{
      .title = "Pruning and logits augmentation against adversarial images",
      .source = fmt::format(
          "The measurements of Wang et al., GlobalSIP 2018, repeated on {}: a plain network ({}), pruned in "
          "twenty small steps ({}), and with its logits enlarged ({}), under FGSM, BIM and C&W; and under "
          "attacks that larger logits do not stop.",
          data_name(setup), m0, m1, m2),
      .findings = {},
      .origin = {{"data", fmt::format("{}, test split", setup.data)},
                 {"network", setup.network},
                 {m0, training_text(setup.base) + ", Adam at 0.001, targets 0.9 and 0.1 / 9"},
                 {m1, fmt::format("{} rounds of {:g} % of conv, {:g} % of fc weights; after each {}",
                                  setup.pruning.rounds, setup.pruning.conv_percent, setup.pruning.fc_percent,
                                  training_text(setup.retraining))},
                 {m2, fmt::format("{}, weights of its last layer times {:g}", m1, 1 + setup.eps)}},
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
