// Checks of how successes are counted: over targets, over attacks, within the budget, of which images.
#include <algorithm>

#include "attacks/checks/check.h"
#include "attacks/checks/evaluation.h"

namespace hashgrad {

Finding check_targets(Evidence& evidence) {
  const int64_t n = evidence.rows(), k = evidence.model().classes(), targets = std::min<int64_t>(k - 1, 9);
  const std::string spec = "pgd:iters=20,loss=ce-exact," + evidence.ball();
  std::vector<bool> any(static_cast<size_t>(n)), all(static_cast<size_t>(n), true);
  int64_t reached = 0;
  for (int64_t rank = 0; rank < targets; ++rank) {
    const std::vector<bool> hit = succeeded(evidence.attack_rival(spec, rank));
    any = either(any, hit);
    all = without(all, without(all, hit));
    reached += count(hit);
  }
  const std::vector<bool> untargeted =
      evidence.broken("pgd:iters=80,restarts=2,loss=margin," + evidence.ball());
  const std::vector<bool> gained = without(any, untargeted);
  return {
      notable(count(gained), n) ? Verdict::inconclusive : Verdict::passed,
      fmt::format(
          "aimed at each of the {} likeliest other classes, pgd reaches the easiest for {} of {} images, the "
          "average one for {:.1f}, every one for {}; {} fall to no untargeted attack on the margin",
          targets, count(any), n, static_cast<double>(reached) / static_cast<double>(targets), count(all),
          count(gained)),
      evidence.samples(gained)};
}

Finding check_worst_case(Evidence& evidence) {
  int64_t best = 0;
  std::string name;
  std::vector<bool> any(static_cast<size_t>(evidence.rows()));
  const auto look = [&](const std::string& attack, const AttackResult& result) {
    const std::vector<bool> broken = evidence.within(result);
    if (count(broken) > best) best = count(broken), name = attack;
    any = either(any, broken);
  };
  for (const std::string& spec : ensemble_specs(evidence)) look(spec, evidence.attack(spec));
  for (const std::string& spec : specs_over_draws(evidence))
    look(evidence.name_over_draws(spec), evidence.over_draws(spec));
  return {
      Verdict::passed,
      best == 0
          ? fmt::format("no attack of the ensemble breaks any of {} images", evidence.rows())
          : fmt::format(
                "the strongest single attack ({}) breaks {} of {} images, all together {}: robust accuracy "
                "is counted image by image over all",
                name, best, evidence.rows(), count(any))};
}

Finding check_budget(Evidence& evidence) {
  const Threat& threat = evidence.threat();
  const Tensor x_adv = evidence.nearest().to(Device{}).to(DType::float64);
  const std::vector<double> far =
      in_norm(distances(evidence.input().x.to(Device{}).to(DType::float64), x_adv), threat.norm)
          .to_vector<double>();
  const double* pixels = x_adv.data<double>();
  const bool in_box = std::all_of(pixels, pixels + x_adv.numel(), [](double v) { return v >= 0 && v <= 1; });
  const double farthest = far.empty() ? 0 : *std::max_element(far.begin(), far.end());
  if (!in_box || farthest > threat.eps)
    return {Verdict::masked, fmt::format("an image counted as broken is at {} distance {}, or left the box",
                                         name_of(threat.norm), farthest)};
  return {Verdict::passed,
          fmt::format("in float64 every image counted as broken lies in [0,1] and within {} {} (the farthest "
                      "at {:.6g})",
                      name_of(threat.norm), threat.eps, farthest)};
}

Finding check_denominators(Evidence& evidence) {
  const Rate clean{evidence.rows(), evidence.rows_given()};
  const int64_t standing = evidence.rows() - count(evidence.worst_case());
  const Interval of_all = Rate{standing, clean.trials}.interval(),
                 of_right = Rate{standing, clean.hits}.interval();
  const std::string numbers = fmt::format(
      "{} of {} images were wrong before any attack; robust: {} of {} [{:.1f}, {:.1f}] %, of those right "
      "before {} of {} [{:.1f}, {:.1f}] %",
      clean.trials - clean.hits, clean.trials, standing, clean.trials, 100 * of_all.low, 100 * of_all.high,
      standing, clean.hits, 100 * of_right.low, 100 * of_right.high);
  constexpr double widest = 0.35;  // of an interval that still says something
  if (of_all.high - of_all.low > widest) return {Verdict::inconclusive, numbers + ": too few images to tell"};
  return {Verdict::passed, numbers};
}

}  // namespace hashgrad
