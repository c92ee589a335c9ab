#include "experiments/wang2018/findings.h"

#include <cmath>

namespace hashgrad::wang2018 {
namespace {

using study::Change;
using study::Json;
using study::shown;

std::string compression(Experiment& e) {
  const std::string claim = "Pruning compresses the network 7 times.";
  const Json* size = e.size();
  if (size == nullptr) return study::unjudged(claim);
  const int64_t weights = size->at("weights").get<int64_t>(), kept = size->at("kept").get<int64_t>();
  const double times = static_cast<double>(weights) / static_cast<double>(kept);
  return study::finding(claim,
                        fmt::format("{} of {} weights are left, {:.2f} times fewer", kept, weights, times),
                        std::round(times) == 7);
}

std::string accuracy(Experiment& e, const std::string& network) {
  const std::string& m0 = e.setup().names[0];
  const std::string claim = fmt::format("{} is as accurate as {}.", network, m0);
  const Search attack = paper_attacks(e.setup())[0];
  const std::optional<Rate> plain = study::share(e.clean(m0, attack), "right"),
                            defended = study::share(e.clean(network, attack), "right");
  if (!plain || !defended) return study::unjudged(claim);
  return study::finding(claim, fmt::format("{} %, {} {} %", shown(defended), m0, shown(plain)),
                        study::change(*plain, *defended) != Change::falls);
}

/// Success on M2, of images crafted on `source`, is below that on M0 of its own images.
std::string defends(Experiment& e, const std::string& source, const Search& attack, const char* knowledge) {
  const auto& [m0, m1, m2] = e.setup().names;
  const std::string claim =
      fmt::format("{} defends against {} in the {} setting.", m2, attack.name, knowledge);
  const std::optional<Rate> plain = e.success(m0, m0, attack), defended = e.success(source, m2, attack);
  if (!plain || !defended) return study::unjudged(claim);
  return study::finding(claim, fmt::format("success {} %, on {} {} %", shown(defended), m0, shown(plain)),
                        study::change(*plain, *defended) == Change::falls);
}

/// Larger logits leave the largest one where it was, so images from elsewhere fool M2 as they fool M1.
std::string augmentation(Experiment& e, const Search& attack) {
  const auto& [m0, m1, m2] = e.setup().names;
  const std::string claim =
      fmt::format("Augmentation adds to pruning against {} in the grey-box setting.", attack.name);
  const std::optional<Rate> without = e.success(m0, m1, attack), with = e.success(m0, m2, attack);
  if (!without || !with) return study::unjudged(claim);
  return study::finding(claim,
                        fmt::format("success {} % on {}, {} % on {}", shown(without), m1, shown(with), m2),
                        study::change(*without, *with) == Change::falls);
}

std::vector<std::string> paper_findings(Experiment& e) {
  const auto& [m0, m1, m2] = e.setup().names;
  std::vector<std::string> result{compression(e), accuracy(e, m1), accuracy(e, m2)};
  for (const Search& attack : paper_attacks(e.setup())) {
    if (attack.aim == Aim::all) continue;  // the paper's conclusion speaks of FGSM and BIM
    result.push_back(defends(e, m0, attack, "grey-box"));
    result.push_back(defends(e, m2, attack, "white-box"));
    result.push_back(augmentation(e, attack));
  }
  return result;
}

/// What M2's resistance to FGSM is made of.
std::string silence(Experiment& e) {
  const auto& [m0, m1, m2] = e.setup().names;
  const std::string subject = fmt::format("What stops white-box FGSM on {}:", m2);
  const Search published = paper_attacks(e.setup())[0], exact = stronger_attacks(e.setup())[0];
  const std::optional<Rate> stopped = e.success(m2, m2, published), twin = e.success(m1, m2, published),
                            along = e.success(m2, m2, exact),
                            zero = study::share(e.gradients(e.setup().eps), "zero");
  if (!stopped || !twin || !along || !zero) return study::unjudged(subject);
  const bool hidden =
      study::change(*stopped, *along) == Change::rises || study::change(*stopped, *twin) == Change::rises;
  return fmt::format(
      "{} {} % of the images have a gradient that is exactly zero. FGSM succeeds on {} %, the same step "
      "along the exact direction on {} %, images from the undefended twin {} on {} %: augmentation {}.",
      subject, shown(zero), shown(stopped), shown(along), m1, shown(twin),
      hidden ? "hides the gradient, and not the images" : "hides nothing here");
}

/// The best of the stronger attacks on each network.
std::string strongest(Experiment& e) {
  std::string text = "The strongest attack within linf 0.3 that was tried reaches";
  const char* between = " ";
  for (const std::string& name : e.setup().names) {
    std::optional<Rate> best;
    std::string by;
    for (const Search& attack : stronger_attacks(e.setup())) {
      if (attack.aim != Aim::away) continue;
      const std::optional<Rate> rate = e.success(name, name, attack);
      if (!rate) return study::unjudged("The strongest attack within linf 0.3:");
      if (!best || rate->value() > best->value()) best = rate, by = attack.name;
    }
    text += fmt::format("{}{} % of {} ({})", between, shown(best), name, by);
    between = ", ";
  }
  return text + ".";
}

}  // namespace

std::vector<std::string> findings(Experiment& e, const study::PaperFlags& flags) {
  std::vector<std::string> result;
  if (flags.table("results")) result = paper_findings(e);
  if (flags.table("adaptive"))
    for (const std::string& sentence : {silence(e), strongest(e)}) result.push_back(sentence);
  return result;
}

}  // namespace hashgrad::wang2018
