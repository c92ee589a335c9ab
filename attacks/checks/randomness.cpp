// The checks of randomness and memory: does the model answer twice alike, and if not, did the attacks take
// that into account? Does it answer alike whatever it was asked before, and beside?
#include <numeric>

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

/// Asks about `most` other images at least, random points of the box.
void ask_about_others(const Evidence& evidence, const Oracle& oracle, int64_t most) {
  const AttackInput& input = evidence.input();
  uint32_t round = 0;
  for (int64_t asked = 0; asked < most; asked += evidence.rows())
    oracle.logits(random_start(input.x, {Norm::linf, 1}, evidence.options().seed, input.samples, round++));
}

/// The names of parameters and buffers that are not what they were.
std::vector<std::string> changed_state(const std::map<std::string, Tensor>& before,
                                       const std::map<std::string, Tensor>& after) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : after)
    if (!identical(before.at(name), tensor.to(Device{}))) names.push_back(name);
  return names;
}

}  // namespace

std::vector<std::string> specs_over_draws(const Evidence& evidence) {
  if (!randomised(evidence.model())) return {};
  const std::string ball = evidence.ball();
  return with_stand_ins({"pgd:iters=40," + ball, "pgd:iters=40,loss=margin," + ball}, evidence);
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

Finding check_function(Evidence& evidence) {
  constexpr int64_t most_rows = 8, others = 1000;
  const int64_t rows = std::min(most_rows, evidence.rows());
  std::vector<int64_t> first(static_cast<size_t>(rows));
  std::iota(first.begin(), first.end(), 0);
  const Oracle oracle = evidence.oracle();
  const Tensor together = oracle.logits(evidence.input().x).to(Device{});
  std::map<std::string, Tensor> state;
  for (const auto& [name, tensor] : evidence.model().state()) state[name] = tensor.to(Device{}).clone();

  oracle.ascent(evidence.input().x, evidence.input().goal(), "margin");  // as attacks ask
  ask_about_others(evidence, oracle, others);
  std::vector<bool> differs(static_cast<size_t>(evidence.rows()));
  for (const int64_t row : first)
    for (int again = 0; again < 2; ++again) {
      const Tensor alone = oracle.logits(gather(evidence.input().x, {row})).to(Device{});
      if (!identical(alone, gather(together, {row}))) differs[static_cast<size_t>(row)] = true;
    }
  const std::vector<std::string> moved = changed_state(state, evidence.model().state());
  if (count(differs) == 0 && moved.empty())
    return {
        Verdict::passed,
        fmt::format(
            "{} images alone, twice, and after {} others and a gradient have the bits that they had among "
            "all; no weight or buffer has moved",
            rows, others)};
  return {
      Verdict::masked,
      fmt::format(
          "{} of {} images are answered otherwise alone, after {} others, than among all before; {} weights "
          "or buffers have moved{}{}",
          count(differs), rows, others, moved.size(), moved.empty() ? "" : ", such as ",
          moved.empty() ? "" : moved.front()),
      evidence.samples(differs)};
}

}  // namespace hashgrad
