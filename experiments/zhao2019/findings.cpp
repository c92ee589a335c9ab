#include "experiments/zhao2019/findings.h"

#include <algorithm>
#include <fmt/ranges.h>

namespace hashgrad::zhao2019 {
namespace {

using study::Change;
using study::shown;
using Scenario = std::optional<Rate> Scenarios::*;

/// The least and the most compressed network of a panel.
const Variant& mildest(const Panel& panel) {
  return panel.axis == "bits" ? panel.variants.back() : panel.variants[0];
}
const Variant& severest(const Panel& panel) {
  return panel.axis == "bits" ? panel.variants[0] : panel.variants.back();
}

std::string from_to(const Rate& from, const Variant& a, const Rate& to, const Variant& b) {
  return fmt::format("{} % at {}, {} % at {}", shown(from), a.label(), shown(to), b.label());
}

/// What the paper says of the most compressed network, judged; of one that guesses, no attack shows anything.
std::string judged(Experiment& e, const Variant& severe, const std::string& claim,
                   const std::string& measured, bool held) {
  const std::optional<Rate> clean = study::share(e.clean(severe, e.setup().attacked), "own");
  if (!clean) return study::unjudged(claim);
  if (!study::beats_chance(*clean, e.classes()))
    return study::by_chance(claim, measured, severe.label(), *clean);
  return study::finding(claim, measured, held);
}

/// Accuracy in one scenario, from the least to the most compressed network.
std::string trend(Experiment& e, const Panel& panel, const Search& attack, Scenario scenario,
                  const std::string& claim, Change expected) {
  const Variant &mild = mildest(panel), &severe = severest(panel);
  const std::optional<Rate> from = e.scenarios(mild, attack).*scenario,
                            to = e.scenarios(severe, attack).*scenario;
  if (!from || !to) return study::unjudged(claim);
  return judged(e, severe, claim, from_to(*from, mild, *to, severe), study::change(*from, *to) == expected);
}

/// The networks of a panel that do not just guess, and the labels of the others.
struct Telling {
  std::vector<Variant> networks;
  std::vector<std::string> left_out;
};

/// Nothing when cells are missing.
std::optional<Telling> telling(Experiment& e, const Panel& panel) {
  Telling result;
  for (const Variant& v : panel.variants) {
    const std::optional<Rate> clean = study::share(e.clean(v, e.setup().attacked), "own");
    if (!clean) return std::nullopt;
    if (study::beats_chance(*clean, e.classes()))
      result.networks.push_back(v);
    else
      result.left_out.push_back(v.label());
  }
  return result;
}

/// What the paper says of every network of a panel: `count` of those that do not guess bear it out.
std::string judged_by(Experiment& e, const Panel& panel, const Telling& told, const std::string& claim,
                      const char* measure, int64_t count, const char* networks) {
  const int64_t all = std::ssize(told.networks);
  std::string measured = fmt::format("{} {} of {} {}", measure, count, all, networks);
  if (all == 0) return judged(e, severest(panel), claim, measured, false);
  if (!told.left_out.empty())
    measured +=
        fmt::format("; left out, right no more often than by chance: {}", fmt::join(told.left_out, ", "));
  return study::finding(claim, measured, count == all);
}

/// Images of every compressed network make the dense one fail more often than no attack does.
std::string transfers(Experiment& e, const Panel& panel, const Search& attack) {
  const std::string claim = fmt::format(
      "C-F{}, {}: images crafted on compressed networks fool the dense one.", panel.figure, attack.name);
  const std::optional<Rate> clean = study::share(e.clean({}, e.setup().attacked), "own");
  const std::optional<Telling> told = telling(e, panel);
  if (!clean || !told) return study::unjudged(claim);
  int64_t fooled = 0;
  for (const Variant& v : told->networks) {
    const std::optional<Rate> under = e.scenarios(v, attack).on_dense;
    if (!under) return study::unjudged(claim);
    fooled += study::change(*clean, *under) == Change::falls;
  }
  return judged_by(e, panel, *told, claim, "its accuracy falls by the images of", fooled, "networks");
}

std::vector<std::string> pruning_findings(Experiment& e) {
  const Panel panel = pruning_panel(e.setup());
  std::vector<std::string> result;
  for (const Search& attack : paper_attacks(e.setup())) {
    result.push_back(transfers(e, panel, attack));
    const auto add = [&](Scenario scenario, const char* name, const char* claim, Change expected) {
      result.push_back(trend(e, panel, attack, scenario,
                             fmt::format("C-F2, {}, {}: {}", attack.name, name, claim), expected));
    };
    if (attack.name == "DeepFool") {
      add(&Scenarios::own, "COMP -> COMP", "the attack works better at low density.", Change::falls);
      add(&Scenarios::on_dense, "COMP -> FULL", "the attack works better at low density.", Change::falls);
      continue;
    }
    add(&Scenarios::own, "COMP -> COMP", "the attack works worse at low density.", Change::rises);
    add(&Scenarios::from_dense, "FULL -> COMP", "the attack works worse at low density.", Change::rises);
    add(&Scenarios::on_dense, "COMP -> FULL",
        "the attack works worse at low density (the paper's summary says \"easier\" once, too).",
        Change::rises);
  }
  return result;
}

/// Above 8 bits no other width differs from the widest, in any scenario, under any attack.
std::string flat_above_8_bits(Experiment& e, const Panel& panel) {
  const std::string claim = "C-F4: above 8 bits accuracies stay nearly constant.";
  int64_t same = 0, all = 0;
  for (const Search& attack : paper_attacks(e.setup()))
    for (const Variant& v : panel.variants) {
      if (v.width <= 8) continue;
      for (const Scenario scenario : {&Scenarios::own, &Scenarios::from_dense, &Scenarios::on_dense}) {
        const std::optional<Rate> wide = e.scenarios(mildest(panel), attack).*scenario,
                                  here = e.scenarios(v, attack).*scenario;
        if (!wide || !here) return study::unjudged(claim);
        if (v.width == mildest(panel).width) continue;
        same += study::change(*wide, *here) == Change::none;
        ++all;
      }
    }
  if (all == 0) return claim + " It says nothing: no two widths are above 8 bits.";
  return study::finding(
      claim, fmt::format("{} of {} other points are that of the widest, within intervals", same, all),
      same == all);
}

/// The attack whose images, crafted on the compressed networks, leave the dense one fewest right answers.
std::string best_transfer(Experiment& e, const Panel& panel) {
  const std::string claim = "C-F4: of the three attacks IFGSM transfers best.";
  const std::optional<Telling> told = telling(e, panel);
  if (!told) return study::unjudged(claim);
  int64_t best = 0;
  for (const Variant& v : told->networks) {
    std::vector<double> accuracies;
    for (const Search& attack : paper_attacks(e.setup())) {
      const std::optional<Rate> under = e.scenarios(v, attack).on_dense;
      if (!under) return study::unjudged(claim);
      accuracies.push_back(under->value());
    }
    best += accuracies[0] < accuracies[1] && accuracies[0] < accuracies[2];
  }
  return judged_by(e, panel, *told, claim, "COMP -> FULL, at", best, "widths");
}

std::vector<std::string> quantisation_findings(Experiment& e) {
  const Panel panel = quantisation_panel(e.setup());
  std::vector<std::string> result{flat_above_8_bits(e, panel), best_transfer(e, panel)};
  for (const Search& attack : paper_attacks(e.setup())) {
    result.push_back(transfers(e, panel, attack));
    if (attack.name == "DeepFool") continue;
    for (const auto& [scenario, name] :
         {std::pair{&Scenarios::own, "COMP -> COMP"}, std::pair{&Scenarios::from_dense, "FULL -> COMP"},
          std::pair{&Scenarios::on_dense, "COMP -> FULL"}})
      result.push_back(trend(e, panel, attack, scenario,
                             fmt::format("C-F4, {}, {}: accuracy rises at low precision.", attack.name, name),
                             Change::rises));
  }
  return result;
}

/// In the narrowest format about 90 % of the weights are at most 0.
std::string reaches_zero_early(Experiment& e, const Panel& panel) {
  const Variant& severe = severest(panel);
  const std::string claim = fmt::format(
      "C-F5, weights: at {} the distribution (the paper's: of CifarNet) reaches about 0.9 at value 0.",
      severe.label());
  const study::Json *narrow = e.distributions(severe), *dense = e.distributions({});
  if (narrow == nullptr || dense == nullptr) return study::unjudged(claim);
  const auto reached = [](const study::Json* values) {
    return values->at("weights").at("up_to_zero").get<double>();
  };
  return study::finding(claim, fmt::format("{:.3f}, dense {:.3f}", reached(narrow), reached(dense)),
                        0.85 <= reached(narrow) && reached(narrow) < 0.95);
}

/// The narrowest format has a larger share of the numbers at its ends than any other.
std::string clips_first(Experiment& e, const Panel& panel, const char* numbers) {
  const Variant& severe = severest(panel);
  const std::string claim = fmt::format("C-F5, {}: {} clip first.", numbers, severe.label());
  double narrow = 0, others = 0;
  for (const Variant& v : panel.variants) {
    const study::Json* values = e.distributions(v);
    if (values == nullptr) return study::unjudged(claim);
    const double share = values->at(numbers).at("at_ends").get<double>();
    if (v.width == severe.width)
      narrow = share;
    else
      others = std::max(others, share);
  }
  return study::finding(claim,
                        fmt::format("{:.3f} % at the ends of the range, of the other widths at most {:.3f} %",
                                    100 * narrow, 100 * others),
                        narrow > others);
}

std::string amplitude_finding(Experiment& e, const Panel& panel) {
  const std::string claim =
      fmt::format("C-F6, {}: IFGSM makes smaller changes on heavily compressed networks.", panel.axis);
  const auto amplitude = [&](const Variant& v) {
    return e.crafted_on(v, paper_attacks(e.setup())[0], e.setup().attacked);
  };
  const study::Json *mild = amplitude(mildest(panel)), *severe = amplitude(severest(panel));
  e.clean(severest(panel), e.setup().attacked);  // judged() asks for it only once the others are there
  if (mild == nullptr || severe == nullptr) return study::unjudged(claim);
  const double from = mild->at("amplitude").get<double>(), to = severe->at("amplitude").get<double>();
  return judged(e, severest(panel), claim,
                fmt::format("mean change of a pixel {:.4f} at {}, {:.4f} at {}", from, mildest(panel).label(),
                            to, severest(panel).label()),
                to < from);
}

/// Is what IFGSM leaves right on the most compressed network left by attacks that search better?
std::string stronger_finding(Experiment& e, const Panel& panel) {
  const Setup& setup = e.setup();
  const Variant& severe = severest(panel);
  const double small = setup.telling_radius, budget = ifgsm_budget(setup);
  const std::optional<Rate> ifgsm =
      study::share(e.crafted_on(severe, paper_attacks(setup)[0], setup.scrutinised), "own");
  const std::optional<Rate> within = e.worst_case(severe, budget), compressed = e.worst_case(severe, small),
                            dense = e.worst_case({}, small);
  const std::optional<Rate> clean = study::share(e.clean(severe, setup.scrutinised), "own");
  const std::string subject = fmt::format("Stronger attacks on {}:", severe.label());
  if (!ifgsm || !within || !compressed || !dense || !clean) return study::unjudged(subject);
  const std::string measured = fmt::format(
      "IFGSM leaves {} % right, all of them together within the same linf {:g} {} %. Within linf {:g} "
      "they leave {} %, and {} % on the dense network",
      shown(*ifgsm), budget, shown(*within), small, shown(*compressed), shown(*dense));
  if (!study::beats_chance(*clean, e.classes()))
    return study::by_chance(subject, measured, severe.label(), *clean);
  const Change gain = study::change(*dense, *compressed);
  return fmt::format("{} {}: compression {}.", subject, measured,
                     gain == Change::rises   ? "makes it more robust"
                     : gain == Change::falls ? "makes it less robust"
                                             : "makes no difference that the intervals could tell");
}

}  // namespace

std::vector<std::string> findings(Experiment& e, const study::PaperFlags& flags) {
  const Panel pruning = pruning_panel(e.setup()), quantisation = quantisation_panel(e.setup());
  std::vector<std::string> result;
  const auto add = [&](const std::vector<std::string>& more) {
    result.insert(result.end(), more.begin(), more.end());
  };
  if (flags.figure("2")) add(pruning_findings(e));
  if (flags.figure("4")) add(quantisation_findings(e));
  if (flags.figure("5"))
    add({reaches_zero_early(e, quantisation), clips_first(e, quantisation, "weights"),
         clips_first(e, quantisation, "activations")});
  if (flags.figure("6")) add({amplitude_finding(e, pruning), amplitude_finding(e, quantisation)});
  if (flags.table("adaptive")) add({stronger_finding(e, pruning), stronger_finding(e, quantisation)});
  return result;
}

}  // namespace hashgrad::zhao2019
