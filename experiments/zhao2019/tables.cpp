#include "experiments/zhao2019/tables.h"

#include "experiments/zhao2019/distributions.h"
#include "experiments/zhao2019/findings.h"

namespace hashgrad::zhao2019 {
namespace {

using report::Plot;
using report::Series;
using report::Table;
using study::Json;
using study::shown;

Search ifgsm(const Setup& setup) { return paper_attacks(setup)[0]; }

std::vector<Variant> with_dense(const std::vector<Variant>& variants) {
  std::vector<Variant> all{Variant{}};
  all.insert(all.end(), variants.begin(), variants.end());
  return all;
}

std::vector<Variant> all_variants(const Setup& setup) {
  std::vector<Variant> all = with_dense(setup.pruned());
  for (const Variant& v : setup.quantised()) all.push_back(v);
  return all;
}

const char* const accuracy_note =
    "accuracy: right answers, of all images; brackets: 95 % Wilson interval. COMP -> FULL: crafted on this "
    "network, shown to the dense one; FULL -> COMP the other way round. The paper shows curves only.";

std::string n_note(int64_t n) { return fmt::format("n = {}; {}", n, accuracy_note); }

Table scenario_table(Experiment& e, const Panel& panel) {
  Table table{panel.name,
              fmt::format("Accuracy over {}, %, in the three scenarios (C-F{})", panel.axis, panel.figure),
              {"attack", "network", "without attack", "COMP -> COMP", "FULL -> COMP", "COMP -> FULL"},
              {},
              n_note(e.setup().attacked)};
  for (const Search& attack : paper_attacks(e.setup()))
    for (const Variant& v : with_dense(panel.variants)) {
      const Scenarios s = e.scenarios(v, attack);
      table.add(
          {attack.name, v.label(), shown(s.clean), shown(s.own), shown(s.from_dense), shown(s.on_dense)});
    }
  return table;
}

void add_point(Series& series, double x, const std::optional<Rate>& rate) {
  if (!rate) return;
  series.add(x, 100 * rate->value());
}

std::vector<Plot> scenario_plots(Experiment& e, const Panel& panel) {
  std::vector<Plot> plots;
  for (const Search& attack : paper_attacks(e.setup())) {
    Series base{"BASE ACC", {}, {}}, own{"COMP -> COMP", {}, {}}, from{"FULL -> COMP", {}, {}},
        to{"COMP -> FULL", {}, {}};
    for (const Variant& v : panel.variants) {
      const Scenarios s = e.scenarios(v, attack);
      const double x = panel.level(v);
      add_point(base, x, s.clean);
      add_point(own, x, s.own);
      add_point(from, x, s.from_dense);
      add_point(to, x, s.on_dense);
    }
    plots.push_back({fmt::format("{}_{}", panel.name, attack.name),
                     fmt::format("Accuracy under {} (C-F{})", attack.name, panel.figure),
                     panel.axis,
                     "accuracy, %",
                     {base, own, from, to},
                     {}});
  }
  return plots;
}

/// IFGSM's images are smaller on heavily compressed networks, the paper says in section 4.1 and in figure 6.
Table amplitude_table(Experiment& e) {
  Table table{"f6_amplitude",
              "What IFGSM does to a pixel (C-F6)",
              {"network", "mean change", "pixels changed, %", "COMP -> COMP", "COMP -> FULL"},
              {},
              {}};
  for (const Variant& v : all_variants(e.setup())) {
    const Json* values = e.crafted_on(v, ifgsm(e.setup()), e.setup().attacked);
    const auto number = [&](const char* name, double unit) {
      return values == nullptr ? study::not_run
                               : fmt::format("{:.4f}", unit * values->at(name).get<double>());
    };
    table.add({v.label(), number("amplitude", 1), number("changed", 100), shown(study::share(values, "own")),
               shown(study::share(values, "dense"))});
  }
  table.note = "mean change: of all pixels of all images, black 0, white 1; " + n_note(e.setup().attacked);
  return table;
}

Plot amplitude_plot(Experiment& e) {
  Series series{"IFGSM", {}, {}};
  for (const Variant& v : e.setup().quantised())
    if (const Json* values = e.crafted_on(v, ifgsm(e.setup()), e.setup().attacked))
      series.add(v.width, values->at("amplitude").get<double>());
  return {"f6_amplitude", "Mean change of a pixel under IFGSM (C-F6)", "bits", "mean change", {series}, {}};
}

std::vector<Search> figure3_attacks(const Setup& setup) {
  std::vector<Search> attacks;
  for (const char* name : {"IFGSM", "IFGM"})
    for (const int64_t iters : setup.f3_iters)
      for (const double eps : setup.f3_eps) {
        attacks.push_back(figure3_attack(name, eps, iters, setup));
        attacks.back().name = fmt::format("{}, eps {:g}, {} epochs", name, eps, iters);
      }
  return attacks;
}

Table figure3_table(Experiment& e) {
  Table table{"f3_settings",
              "Accuracy under IFGSM and IFGM of several sizes, %, COMP -> COMP (C-F3)",
              {"attack"},
              {},
              {}};
  const std::vector<Variant> variants = with_dense(e.setup().pruned());
  for (const Variant& v : variants) table.columns.push_back(v.label());
  for (const Search& attack : figure3_attacks(e.setup())) {
    std::vector<std::string> row{attack.name};
    for (const Variant& v : variants)
      row.push_back(shown(study::share(e.crafted_on(v, attack, e.setup().scrutinised), "own")));
    table.add(row);
  }
  table.note = n_note(e.setup().scrutinised);
  return table;
}

std::vector<Plot> figure3_plots(Experiment& e) {
  std::vector<Plot> plots;
  for (const std::string name : {"IFGSM", "IFGM"}) {
    Plot plot{"f3_" + name, fmt::format("{} of several sizes, COMP -> COMP (C-F3)", name),
              "density",    "accuracy, %",
              {},           {}};
    for (const Search& attack : figure3_attacks(e.setup())) {
      if (!attack.name.starts_with(name + ",")) continue;
      Series series{attack.name, {}, {}};
      for (const Variant& v : with_dense(e.setup().pruned()))
        add_point(series, v.density, study::share(e.crafted_on(v, attack, e.setup().scrutinised), "own"));
      plot.series.push_back(series);
    }
    plots.push_back(plot);
  }
  return plots;
}

/// "[-1, 0.875]"
std::string range_text(int width) {
  const FixedPointFormat format = format_of(width);
  const auto number = [&](int64_t code) { return static_cast<double>(code) * format.step(); };
  return fmt::format("[{:g}, {:g}]", number(format.lowest_code()),
                     number(format.highest_code(DType::float32)));
}

/// In percent; "-" for the ends of a network that has none.
std::string share_text(const Json* values, const char* numbers, const char* share) {
  if (values == nullptr) return study::not_run;
  const Json& shares = values->at(numbers);
  return shares.contains(share) ? fmt::format("{:.3f}", 100 * shares.at(share).get<double>()) : "-";
}

Table distribution_table(Experiment& e) {
  Table table{"f5_distributions",
              "Where weights and activations lie, % of them (C-F5)",
              {"network", "range", "weights <= 0", "weights = 0", "weights at the ends", "activations <= 0",
               "activations = 0", "activations at the ends"},
              {},
              {}};
  for (const Variant& v : with_dense(e.setup().quantised())) {
    const Json* values = e.distributions(v);
    std::vector<std::string> row{v.label(), v.width == 0 ? "-" : range_text(v.width)};
    for (const char* numbers : {"weights", "activations"})
      for (const char* share : {"up_to_zero", "zero", "at_ends"})
        row.push_back(share_text(values, numbers, share));
    table.add(row);
  }
  table.note = fmt::format(
      "Weights: all of the network, without biases. Activations: what fixed point rounds, the sums in front "
      "of activation functions, of {} test images drawn by the seed. At the ends: on the lowest or the "
      "highest number of the range, clipped to it or rounded. These are all numbers of one network, not a "
      "sample: no intervals. The paper (CifarNet, 4 bits): about 90 % of the weights are at most 0.",
      images_of_distributions);
  return table;
}

Plot distribution_plot(Experiment& e, const std::string& numbers, double reach) {
  Plot plot{"f5_" + numbers,
            fmt::format("Distribution of {} (C-F5)", numbers),
            "value",
            fmt::format("share of {} up to it", numbers),
            {},
            {}};
  for (const Variant& v : with_dense(e.setup().quantised()))
    if (const Json* values = e.distributions(v))
      plot.series.push_back(
          {v.label(), points_within(reach), values->at(numbers).at("cumulative").get<std::vector<double>>()});
  return plot;
}

/// One row per network and radius: what IFGSM leaves right beside what stronger attacks do.
Table stronger_table(Experiment& e) {
  const Setup& setup = e.setup();
  const std::vector<Search> columns = stronger_attacks(setup.telling_radius, true, setup);
  Table table{"adaptive",
              "Accuracy under stronger attacks, %",
              {"network", "linf", "without attack", "IFGSM", "zero gradients"},
              {},
              {}};
  for (const Search& attack : columns) table.columns.push_back(attack.name);
  table.columns.insert(table.columns.end(), {"worst case", "DeepFool distance"});
  for (const Variant& v : all_variants(setup))
    for (const double radius : radii(setup)) {
      std::vector<std::string> row{
          v.label(), fmt::format("{:g}", radius), shown(study::share(e.clean(v, setup.scrutinised), "own")),
          shown(study::share(e.crafted_on(v, ifgsm(setup), setup.scrutinised), "own")),
          shown(study::share(e.gradients(v), "zero"))};
      for (const Search& attack : stronger_attacks(radius, true, setup))
        row.push_back(
            attack.float_gradients && v.width == 0 ? "-" : shown(study::share(e.stronger(v, attack), "own")));
      row.push_back(shown(e.worst_case(v, radius)));
      const Json* distance = e.stronger(v, distance_attack());
      row.push_back(distance == nullptr ? study::not_run
                                        : fmt::format("{:.3f}", distance->at("median_l2").get<double>()));
      table.add(row);
    }
  table.note = fmt::format(
      "IFGSM: the paper's, whose steps may add up to linf {:g}. Zero gradients: share of images whose "
      "cross-entropy gradient is exactly 0. Worst case: right without attack and under every attack of the "
      "row but IFGSM. Float gradients: those of the same weights without rounding and clipping of "
      "activations. DeepFool distance: median L2 of unbounded DeepFool. {}",
      ifgsm_budget(setup), n_note(setup.scrutinised));
  return table;
}

std::string training_text(const Training& t) {
  return fmt::format("{} epochs of {} images, batch {}, {}, rate {:g}, {}", t.epochs, t.images, t.batch,
                     t.optimizer, t.lr, t.schedule);
}

}  // namespace

study::Page page_of(Experiment& e, const study::PaperFlags& flags) {
  const Setup& setup = e.setup();
  study::Page page{
      .title = "Do adversarial images pass between a network and its compressed forms?",
      .source =
          "The measurements of Zhao et al., SysML 2019, repeated: a network, pruned and in fixed point, "
          "under IFGSM, IFGM and DeepFool, in three scenarios; and under attacks that depend neither on the "
          "size of a gradient nor on rounding.",
      .findings = findings(e, flags),
      .origin = {{"data", fmt::format("{}, test split", setup.data)},
                 {"network", setup.network},
                 {"attacks", fmt::format("settings of the {}, ball around the {}", setup.attack_settings,
                                         setup.ball == "prev" ? "previous iterate" : "image")},
                 {"dense", training_text(setup.base)},
                 {"then", training_text(setup.retraining)},
                 {"pruning",
                  fmt::format("dynamic surgery, each layer, masks anew in front of every epoch of the first "
                              "three quarters; gradients to {}",
                              setup.gradients == "all" ? "all weights" : "the kept weights")}},
      .tables = {},
      .plots = {}};
  const auto add = [&](Table table, const std::vector<Plot>& plots) {
    page.tables.push_back(std::move(table));
    page.plots.insert(page.plots.end(), plots.begin(), plots.end());
  };
  for (const Panel& panel : {pruning_panel(setup), quantisation_panel(setup)})
    if (flags.figure(panel.figure)) add(scenario_table(e, panel), scenario_plots(e, panel));
  if (flags.figure("3")) add(figure3_table(e), figure3_plots(e));
  if (flags.figure("5"))
    add(distribution_table(e), {distribution_plot(e, "weights", reach_of_weights),
                                distribution_plot(e, "activations", reach_of_activations)});
  if (flags.figure("6")) add(amplitude_table(e), {amplitude_plot(e)});
  if (flags.table("adaptive")) add(stronger_table(e), {});
  return page;
}

}  // namespace hashgrad::zhao2019
