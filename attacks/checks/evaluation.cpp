#include "attacks/checks/evaluation.h"

#include <algorithm>
#include <cmath>
#include <fmt/ranges.h>
#include <numeric>

namespace hashgrad {
namespace {

double mean_of(const Tensor& values) {
  const std::vector<int64_t> v = values.to_vector<int64_t>();
  return std::accumulate(v.begin(), v.end(), 0.0) / static_cast<double>(std::max<size_t>(1, v.size()));
}

EnsembleRow row_of(const Evidence& evidence, const std::string& name, const AttackResult& r) {
  return {name,
          {count(evidence.within(r)), evidence.rows()},
          median_of_successes(in_norm(r, evidence.threat().norm), r.success, r.status),
          mean_of(r.forwards),
          mean_of(r.backwards)};
}

CurvePoint point_at(Evidence& evidence, double factor) {
  const std::vector<bool> standard = evidence.broken(curve_spec(evidence, factor));
  std::vector<bool> best = standard;
  for (const char* loss : {"ce-exact", "margin"})
    for (const std::string& spec : with_stand_ins({curve_spec(evidence, factor) + ",loss=" + loss}, evidence))
      best = either(best, evidence.broken(spec));
  return {evidence.threat().eps * factor, {count(standard), evidence.rows()}, {count(best), evidence.rows()}};
}

/// The attacks of an ensemble that not every norm has.
std::vector<std::string> specs_of_norm(const Evidence& evidence) {
  const Threat& threat = evidence.threat();
  const double pixels = static_cast<double>(evidence.input().x.numel() / evidence.rows());
  if (threat.norm == Norm::l0)  // half a pixel more, so that rounding costs none
    return {fmt::format("jsma:gamma={}", std::min(1.0, (std::floor(threat.eps) + 0.5) / pixels)),
            "cw-l0:c0=0.1,c-steps=10,iters=100,lr=0.1"};
  std::vector<std::string> specs = {"apgd-ce:iters=50," + evidence.ball()};
  if (evidence.model().classes() >= 4) specs.push_back("apgd-t:iters=50," + evidence.ball());
  if (threat.norm == Norm::l1) specs.push_back("ead:rule=l1,iters=100,c-steps=6,c0=0.01");
  return specs;
}

/// The ids of the checks with this verdict.
std::vector<std::string> ids_with(const Evaluation& e, Verdict verdict) {
  std::vector<std::string> ids;
  for (const auto& [check, finding] : e.findings)
    if (finding.verdict == verdict) ids.push_back(check.id);
  return ids;
}

void conclude(Evaluation& e) {
  const auto masked = ids_with(e, Verdict::masked), open = ids_with(e, Verdict::inconclusive);
  e.verdict = !masked.empty() ? Verdict::masked : !open.empty() ? Verdict::inconclusive : Verdict::passed;
  const std::string number =
      fmt::format("{:.1f} % robust accuracy against everything that was tried", 100 * e.robust.value());
  if (e.verdict == Verdict::masked)
    e.reason = fmt::format(
        "Gradient masking ({}): numbers of the standard attacks say nothing here; {} is an upper bound.",
        fmt::join(masked, ", "), number);
  else if (e.verdict == Verdict::inconclusive)
    e.reason = fmt::format("Inconclusive ({}): {}, and stronger attacks may find more.",
                           fmt::join(open, ", "), number);
  else
    e.reason = fmt::format("No sign of masking: {}.", number);
}

}  // namespace

std::vector<std::string> ensemble_specs(const Evidence& evidence) {
  const std::string ball = evidence.ball();
  std::vector<std::string> specs;
  if (const auto one = one_step_spec(evidence)) specs.push_back(*one);
  for (const std::string& spec :
       {curve_spec(evidence, 1), "pgd:iters=40," + ball, "pgd:iters=40,loss=ce-exact," + ball,
        "pgd:iters=80,restarts=2,loss=margin," + ball})
    specs.push_back(spec);
  if (evidence.model().classes() >= 3) specs.push_back("pgd:iters=40,loss=dlr," + ball);
  for (const std::string& spec : specs_of_norm(evidence)) specs.push_back(spec);
  specs = with_stand_ins(std::move(specs), evidence);
  if (const auto black_box = black_box_spec(evidence)) specs.push_back(*black_box);
  return specs;
}

Evaluation evaluate_robustness(Evidence& evidence) {
  Evaluation e{{evidence.rows(), evidence.rows_given()}, {}, {}, {}, {}, Verdict::passed, {}};
  for (const std::string& spec : ensemble_specs(evidence))
    e.ensemble.push_back(row_of(evidence, spec, evidence.attack(spec)));
  for (const std::string& spec : specs_over_draws(evidence))
    e.ensemble.push_back(row_of(evidence, evidence.name_over_draws(spec), evidence.over_draws(spec)));
  for (const double factor : curve_factors(evidence)) e.curve.push_back(point_at(evidence, factor));
  for (const Check& check : all_checks()) e.findings.emplace_back(check, check.run(evidence));
  e.robust = {evidence.rows() - count(evidence.worst_case()), evidence.rows_given()};
  conclude(e);
  return e;
}

}  // namespace hashgrad
