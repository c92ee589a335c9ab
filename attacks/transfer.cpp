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
  const std::vector<int64_t> clean = judge.predict(input.x), attacked = judge.predict(crafted.x_adv);
  const Goal goal = input.goal();
  const int64_t per_image = rows_per_image(input);
  Transfer result{.rates = success_rates(input.y.to_vector<int64_t>(), clean, attacked, per_image),
                  .reached = {0, input.x.size(0), per_image},
                  .transferred = {0, 0, per_image}};
  for (int64_t i = 0; i < input.x.size(0); ++i) {
    const bool reached = goal.reached(i, attacked[static_cast<size_t>(i)]);
    const bool broken = crafted.success.data<uint8_t>()[i] == 1 &&
                        crafted.status.data<int64_t>()[i] != static_cast<int64_t>(Status::already_wrong) &&
                        !goal.reached(i, clean[static_cast<size_t>(i)]);
    result.reached.hits += reached;
    result.transferred.trials += broken;
    result.transferred.hits += broken && reached;
  }
  return result;
}

}  // namespace hashgrad
