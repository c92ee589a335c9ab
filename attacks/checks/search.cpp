// Checks of whether the attacks search well enough: steps, budgets, losses.
#include <algorithm>

#include "attacks/checks/check.h"
#include "attacks/checks/evaluation.h"

namespace hashgrad {
namespace {

std::string standard_spec(const Evidence& evidence, int iters, const std::string& rest) {
  return fmt::format("{}:iters={},{}", standard_name(evidence), iters, rest);
}

constexpr int black_box_queries = 500;

/// Rows that an attack in the whole box leaves standing. A randomised model may withstand the draw that the
/// attack follows by luck: what falls along the mean of many draws does not stand.
std::vector<bool> standing_without_budget(Evidence& evidence, const std::string& spec) {
  std::vector<bool> broken = evidence.broken(spec);
  const int64_t n = evidence.rows();
  if (randomised(evidence.model()) && notable(n - count(broken), n))
    broken = either(broken, succeeded(evidence.over_draws(spec)));
  broken.flip();
  return broken;
}

std::string shares(int64_t rows, int64_t n) { return fmt::format("{} of {} images", rows, n); }

}  // namespace

const char* standard_name(const Evidence& evidence) {
  return evidence.threat().norm == Norm::l1 ? "apgd-ce" : "pgd";
}

std::vector<double> curve_factors(const Evidence& evidence) {
  std::vector<double> factors;
  for (const double f : {0.125, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0})
    if (f < evidence.whole_box() && (evidence.threat().norm != Norm::l0 || f * evidence.threat().eps >= 1))
      factors.push_back(f);
  factors.push_back(evidence.whole_box());
  return factors;
}

std::optional<std::string> one_step_spec(const Evidence& evidence) {
  const Threat& threat = evidence.threat();
  if (threat.norm == Norm::l0) return std::nullopt;
  return threat.norm == Norm::linf ? fmt::format("fgsm:eps={}", threat.eps) : "fgm:" + evidence.ball();
}

std::optional<std::string> black_box_spec(const Evidence& evidence) {
  if (evidence.threat().norm == Norm::l0) return std::nullopt;
  return fmt::format("square:iters={},{}", black_box_queries, evidence.ball());
}

std::string curve_spec(const Evidence& evidence, double factor) {
  return "bim:iters=20," + evidence.ball(factor);
}

Finding check_iterations(Evidence& evidence) {
  const std::string many = curve_spec(evidence, 1);
  const std::optional<std::string> one = one_step_spec(evidence);
  if (!one) return {Verdict::not_applicable, "l0 counts pixels and has no attack of one small step"};
  const std::vector<bool> only_one = without(evidence.broken(*one), evidence.broken(many));
  return {notable(count(only_one), evidence.rows()) ? Verdict::masked : Verdict::passed,
          fmt::format("one step breaks {}, twenty steps {}; {} fell to the one step alone",
                      count(evidence.broken(*one)), shares(count(evidence.broken(many)), evidence.rows()),
                      count(only_one)),
          evidence.samples(only_one)};
}

Finding check_budgets(Evidence& evidence) {
  const int64_t n = evidence.rows();
  int64_t highest = 0, drop = 0, last = 0;
  double drop_at = 0;
  for (const double factor : curve_factors(evidence)) {
    last = count(evidence.broken(curve_spec(evidence, factor)));
    if (highest - last > drop) drop = highest - last, drop_at = factor * evidence.threat().eps;
    highest = std::max(highest, last);
  }
  const std::vector<bool> standing =
      standing_without_budget(evidence, curve_spec(evidence, evidence.whole_box()));
  if (notable(count(standing), n))
    return {Verdict::masked,
            fmt::format("with the whole box allowed, twenty steps along the cross-entropy break only {}",
                        shares(n - count(standing), n)),
            evidence.samples(standing)};
  if (notable(drop, n))
    return {Verdict::masked,
            fmt::format("at eps {} there are {} successes fewer than at a smaller eps", drop_at, drop)};
  return {Verdict::passed, fmt::format("success never falls, and reaches {} in the whole box",
                                       shares(n - count(standing), n))};
}

Finding check_unbounded(Evidence& evidence) {
  const std::string ball = evidence.ball(evidence.whole_box());
  const std::vector<bool> standing = standing_without_budget(evidence, standard_spec(evidence, 100, ball));
  const int64_t broken = evidence.rows() - count(standing);
  if (!notable(count(standing), evidence.rows()))
    return {Verdict::passed, fmt::format("{} in the whole box breaks {}", standard_name(evidence),
                                         shares(broken, evidence.rows()))};
  const int64_t exact = count(evidence.broken(standard_spec(evidence, 100, "loss=ce-exact," + ball)));
  return {
      Verdict::masked,
      fmt::format("{} in the whole box breaks only {}, and {} along the exact direction of the cross-entropy",
                  standard_name(evidence), shares(broken, evidence.rows()), exact),
      evidence.samples(standing)};
}

Finding without_gradients(Evidence& evidence, const std::string& how, const std::vector<bool>& found) {
  constexpr double much = 0.25;  // of all images, that another search may gain where nothing is hidden
  const std::vector<bool> standard = evidence.broken(standard_spec(evidence, 40, evidence.ball()));
  std::vector<bool> all = standard;
  for (const std::string& spec : ensemble_specs(evidence))
    if (spec != black_box_spec(evidence)) all = either(all, evidence.within(evidence.attack(spec)));
  for (const std::string& spec : specs_over_draws(evidence))
    all = either(all, evidence.within(evidence.over_draws(spec)));
  const std::vector<bool> gained = without(found, standard), unseen = without(found, all);
  const int64_t n = evidence.rows();
  const bool masked =
      notable(count(unseen), n) ||
      (notable(count(gained), n) && static_cast<double>(count(gained)) >= much * static_cast<double>(n));
  return {masked ? Verdict::masked : Verdict::passed,
          fmt::format("{} {} of {} images; {} of them withstand {}, {} every attack that follows gradients",
                      how, count(found), n, count(gained), standard_name(evidence), count(unseen)),
          evidence.samples(gained)};
}

Finding check_black_box(Evidence& evidence) {
  const std::optional<std::string> spec = black_box_spec(evidence);
  if (!spec)
    return {Verdict::not_applicable, "no attack without gradients is bounded in l0; D11 is all there is"};
  return without_gradients(evidence,
                           fmt::format("{} questions per image, without gradients, break", black_box_queries),
                           evidence.broken(*spec));
}

Finding check_random(Evidence& evidence) {
  return without_gradients(evidence, "a thousand random points of the ball break",
                           evidence.broken("random-noise:draws=1000," + evidence.ball()));
}

Finding check_convergence(Evidence& evidence) {
  const std::string ball = evidence.ball();
  const std::vector<bool> some = evidence.broken("pgd:iters=40,loss=margin," + ball);
  const std::vector<bool> more = evidence.broken("pgd:iters=80,restarts=2,loss=margin," + ball);
  const std::vector<bool> gained = without(more, some);
  return {notable(count(gained), evidence.rows()) ? Verdict::inconclusive : Verdict::passed,
          fmt::format("40 steps on the margin break {}, 80 steps with a restart {} more",
                      shares(count(some), evidence.rows()), count(gained)),
          evidence.samples(gained)};
}

Finding check_returned(Evidence& evidence) {
  if (randomised(evidence.model()))
    return {Verdict::not_applicable, "against a randomised model attacks go on to the last step"};
  const std::vector<bool> best = evidence.broken(curve_spec(evidence, 1));
  const std::vector<bool> last = evidence.broken("bim:iters=20,no-early-stop," + evidence.ball());
  const std::vector<bool> lost = without(best, last), gained = without(last, best);
  if (notable(count(gained), evidence.rows()))
    return {Verdict::masked,
            fmt::format("the last iterate breaks {} that the attack gave away on its way",
                        shares(count(gained), evidence.rows())),
            evidence.samples(gained)};
  return {Verdict::passed,
          fmt::format("attacks here return the first success; returning the last iterate would have lost {}",
                      shares(count(lost), evidence.rows())),
          evidence.samples(lost)};
}

Finding check_losses(Evidence& evidence) {
  const int64_t n = evidence.rows();
  const std::vector<bool> standard = evidence.broken("pgd:iters=40," + evidence.ball());
  std::vector<bool> best = standard;
  std::string numbers = fmt::format("of {} images pgd breaks {} on ce", n, count(standard));
  bool masked = false;
  // `most` is the largest share of images that this variant may add before the cross-entropy is to be
  // doubted.
  const auto look = [&](const std::string& what, const std::string& settings, double most) {
    const std::vector<bool> broken = evidence.broken("pgd:iters=40," + settings + "," + evidence.ball());
    const std::vector<bool> gained = without(broken, standard);
    numbers += fmt::format(", {} on {}", count(broken), what);
    if (count(gained) > count(without(best, standard))) best = broken;
    masked = masked || (notable(count(gained), n) &&
                        static_cast<double>(count(gained)) >= most * static_cast<double>(n));
  };
  look("ce-exact", "loss=ce-exact", 0.05);  // the same loss, the same direction
  look("margin", "loss=margin", 0.25);      // other losses may be better, a little
  if (evidence.model().classes() >= 3) look("dlr", "loss=dlr", 0.25);
  // The length of a step: in units of eps; for l0 the mean change of a pixel.
  const bool l0 = evidence.threat().norm == Norm::l0;
  for (const double share : {0.25, 0.02})
    look(fmt::format("ce with steps of {}{}", share, l0 ? "" : " eps"),
         fmt::format("step={}", l0 ? share : share * evidence.threat().eps), 0.25);
  return {masked ? Verdict::masked : Verdict::passed, numbers, evidence.samples(without(best, standard))};
}

}  // namespace hashgrad
