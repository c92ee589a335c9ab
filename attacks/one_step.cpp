#include "attacks/one_step.h"

#include "core/math_mode.h"

namespace hashgrad {

Crafted one_step(const Oracle& oracle, const AttackInput& input, const Loss& loss, bool own_prediction,
                 const std::function<Tensor(const Tensor& x, const Tensor& gradient)>& move) {
  Crafted out(input.x);
  const Goal goal = input.goal();
  const Goal wanted{own_prediction ? Tensor() : goal.labels, goal.targets};
  const LossGradient pass = oracle.ascent(input.x, wanted, loss);
  Readings clean = readings_of(pass);
  // What was wrong before is for the judge's arithmetic to say.
  if (math_mode() != Math::fp32) clean.predictions = predictions_of(oracle.exact_logits(input.x));
  std::vector<int64_t> moving;
  for (size_t i = 0; i < clean.predictions.size(); ++i) {
    out.forwards[i] = out.backwards[i] = 1;
    const bool already = goal.reached(static_cast<int64_t>(i), clean.predictions[i]);
    out.first_success[i] = already ? 0 : 1;  // a claim: verify() withdraws it where it does not hold
    if (already)
      out.status[i] = Status::already_wrong;
    else if (!clean.finite[i] || clean.predictions[i] < 0)
      out.status[i] = Status::nan;
    else if (clean.zero[i])
      out.status[i] = Status::zero_grad;
    if (clean.finite[i] && !clean.zero[i]) moving.push_back(static_cast<int64_t>(i));
  }
  scatter(out.x_adv, moving, move(gather(input.x, moving), gather(pass.gradient, moving)));
  return out;
}

}  // namespace hashgrad
