// The check of randomness: does the model answer twice alike, and if not, did the attacks take that into
// account?
#include "attacks/checks/check.h"

namespace hashgrad {
namespace {

/// Of the clean images, those that not all draws of the judge put into one class.
std::vector<bool> changing(const Evidence& evidence) {
  const std::vector<std::vector<int64_t>> votes = evidence.judge().votes(evidence.input().x);
  std::vector<bool> result(static_cast<size_t>(evidence.rows()));
  for (const std::vector<int64_t>& vote : votes)
    for (size_t i = 0; i < result.size(); ++i) result[i] = result[i] || vote[i] != votes[0][i];
  return result;
}

Finding check_repetition(const Evidence& evidence) {
  constexpr int repeats = 5;
  for (int i = 0; i < repeats; ++i) {
    const Tensor again = evidence.oracle().logits(evidence.input().x).to(Device{});
    if (!identical(again, evidence.logits()))
      return {Verdict::masked, "logits differ from one pass to the next, and the model does not say why"};
  }
  return {Verdict::passed, fmt::format("{} passes gave the same bits", repeats + 1)};
}

}  // namespace

std::vector<std::string> specs_over_draws(const Evidence& evidence) {
  // To the last step: where the mean's prediction only just changes, the draws that judge do not agree yet.
  const std::string rest = "no-early-stop," + evidence.ball();
  return {"pgd:iters=40," + rest, "pgd:iters=40,loss=margin," + rest};
}

Finding check_randomness(Evidence& evidence) {
  if (!randomised(evidence.model())) return check_repetition(evidence);
  std::vector<bool> single(static_cast<size_t>(evidence.rows())), many = single;
  for (const std::string& spec : specs_over_draws(evidence)) {
    single = either(single, evidence.broken(spec));
    many = either(many, succeeded(evidence.over_draws(spec)));
  }
  const std::vector<bool> gained = without(many, single);
  const int64_t more = count(many) - count(single);
  const bool hidden = notable(more, evidence.rows()) && 20 * more >= evidence.rows();
  return {
      hidden ? Verdict::masked : Verdict::inconclusive,
      fmt::format("answers change from draw to draw in {} of {} images; pgd along one draw breaks {}, over "
                  "{} draws {}, {} of them only so; {} other draws judge by majority",
                  count(changing(evidence)), evidence.rows(), count(single), evidence.options().draws.count,
                  count(many), count(gained), evidence.judge().draws()),
      evidence.samples(hidden ? gained : changing(evidence))};
}

}  // namespace hashgrad
