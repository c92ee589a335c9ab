// The check of the checks: a network that is known to hide its gradients, made of the one under evaluation,
// must be found out by them.
#include <algorithm>
#include <cmath>
#include <fmt/ranges.h>
#include <numeric>

#include "attacks/checks/check.h"

namespace hashgrad {
namespace {

/// The first images, few enough to be cheap: their numbers in evidence.input().
std::vector<int64_t> some_rows(const Evidence& evidence) {
  constexpr int64_t most = 16;
  std::vector<int64_t> rows(static_cast<size_t>(std::min(most, evidence.rows())));
  std::iota(rows.begin(), rows.end(), 0);
  return rows;
}

/// The median of z_y - max_{j != y} z_j over these rows.
double median_lead(const Evidence& evidence, const std::vector<int64_t>& rows) {
  const Tensor margin =
      Oracle::objective(gather(evidence.logits(), rows), gather(evidence.input(), rows).goal(), "margin");
  std::vector<double> leads = margin.to(DType::float64).to_vector<double>();
  for (double& lead : leads) lead = std::isnan(lead) ? 0 : -lead;
  std::sort(leads.begin(), leads.end());
  return leads[leads.size() / 2];
}

/// The power of two, so that predictions stay to the bit, by which that lead exceeds what leaves the gradient
/// of the cross-entropy anything but zero.
double masking_scale(const Evidence& evidence, const std::vector<int64_t>& rows) {
  const double gone = evidence.model().dtype() == DType::float32 ? 120 : 760;  // exp(-104), exp(-746) are 0
  const double median = std::max(median_lead(evidence, rows), 1e-9);
  return std::max(1.0, std::exp2(std::ceil(std::log2(gone / median))));
}

}  // namespace

Finding check_controls(Evidence& evidence) {
  if (randomised(evidence.model()))
    return {Verdict::not_applicable, "the logits of a randomised model do not scale with its weights"};
  const std::vector<int64_t> rows = some_rows(evidence);
  const double scale = masking_scale(evidence, rows);
  const std::optional<Model> twin = with_scaled_logits(evidence.model(), scale);
  if (!twin) return {Verdict::not_applicable, "the last layer has no weights whose scale could be changed"};
  if (evidence.options().progress)
    evidence.options().progress(fmt::format("the checks on logits times {}", scale));
  Evidence masked(
      *twin, gather(evidence.input(), rows), evidence.threat(),
      {.batch = evidence.options().batch, .seed = evidence.options().seed, .stop = evidence.options().stop});
  std::vector<std::string> seen, blind;
  const auto ask = [&](const char* id, Finding (*check)(Evidence&)) {
    (check(masked).verdict == Verdict::masked ? seen : blind).push_back(id);
  };
  ask("D2", check_zero_gradients);
  ask("D8", check_budgets);
  const bool sharp = blind.empty();  // these two can notice whatever the budget; D4 where it allows anything
  ask("D4", check_scale);
  const std::string noticed = seen.empty() ? "none" : fmt::format("{}", fmt::join(seen, ", "));
  const std::string missed = blind.empty() ? "" : fmt::format(", not by {}", fmt::join(blind, ", "));
  return {
      sharp ? Verdict::passed : Verdict::inconclusive,
      fmt::format("logits {} times as large leave the cross-entropy of about half of {} images without a "
                  "gradient: noticed by {}{}{}",
                  scale, masked.rows(), noticed, missed, sharp ? "" : ", whose silence says nothing here")};
}

}  // namespace hashgrad
