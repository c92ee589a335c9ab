#include "attacks/rows.h"

namespace hashgrad {

CleanPass judge_clean(const Oracle& oracle, const AttackInput& input, Crafted& out) {
  CleanPass clean{oracle.exact_logits(input.x), {}};
  const std::vector<int64_t> predictions = predictions_of(clean.logits);
  const Goal goal = input.goal();
  for (size_t row = 0; row < predictions.size(); ++row) {
    ++out.forwards[row];
    if (oracle.decides() && goal.reached(static_cast<int64_t>(row), predictions[row]))
      out.status[row] = Status::already_wrong, out.first_success[row] = 0;
    else if (predictions[row] < 0)
      out.status[row] = Status::nan;
    else
      clean.open.push_back(static_cast<int64_t>(row));
  }
  return clean;
}

std::vector<Status> obstacles(const Tensor& gradient, const Tensor& direction) {
  const std::vector<bool> zero = zero_rows(direction), finite = finite_rows(gradient);
  std::vector<Status> result;
  for (size_t i = 0; i < zero.size(); ++i)
    result.push_back(!finite[i] ? Status::nan : zero[i] ? Status::zero_grad : Status::ok);
  return result;
}

}  // namespace hashgrad
