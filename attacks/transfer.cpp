#include "attacks/transfer.h"

#include "core/math_mode.h"

namespace hashgrad {

Transfer apply_to(const Model& target, const AttackInput& input, const AttackResult& crafted,
                  const OracleOptions& options) {
  validate(target, input, "transfer");
  const MathScope exact(Math::fp32);
  check(crafted.x_adv.shape() == input.x.shape(), "transfer: {} adversarial images of {} images",
        crafted.x_adv.shape(), input.x.shape());
  const Oracle judge = Oracle::judge(target, options);
  const std::vector<int64_t> attacked = judge.predict(crafted.x_adv);
  const Goal goal = input.goal();
  Transfer result{.rates = success_rates(input.y.to_vector<int64_t>(), judge.predict(input.x), attacked),
                  .reached = {0, input.x.size(0)},
                  .transferred = {}};
  for (int64_t i = 0; i < input.x.size(0); ++i) {
    const bool reached = goal.reached(i, attacked[static_cast<size_t>(i)]);
    const bool was_success = crafted.success.data<uint8_t>()[i] == 1;
    result.reached.hits += reached;
    result.transferred.trials += was_success;
    result.transferred.hits += was_success && reached;
  }
  return result;
}

}  // namespace hashgrad
