#include "attacks/probes.h"

namespace hashgrad {

std::vector<int64_t> rows_to_attack(const Oracle& oracle, const AttackInput& input, Crafted& out) {
  const std::vector<int64_t> clean = oracle.predict(input.x);
  const Goal goal = input.goal();
  std::vector<int64_t> open;
  for (size_t row = 0; row < clean.size(); ++row) {
    ++out.forwards[row];
    if (goal.reached(static_cast<int64_t>(row), clean[row]))
      out.status[row] = Status::already_wrong, out.first_success[row] = 0;
    else if (clean[row] < 0)
      out.status[row] = Status::nan;
    else
      open.push_back(static_cast<int64_t>(row));
  }
  return open;
}

}  // namespace hashgrad
