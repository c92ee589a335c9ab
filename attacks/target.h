// Choosing target classes for targeted attacks.
#pragma once

#include <string>

#include "attacks/attack.h"

namespace hashgrad {

/// next: label + 1, cyclic. random: any other class alike. least_likely, runner_up: the class with the
/// smallest and the largest logit that is not the label. Ties go to the lowest class.
enum class TargetRule { next, random, least_likely, runner_up };
/// Accepts next, random, least-likely, runner-up.
TargetRule parse_target_rule(const std::string& text);

/// [N] int64 on the CPU from labels [N] there and clean logits [N,K] anywhere; `random` draws by (seed,
/// sample).
Tensor choose_targets(TargetRule rule, const Tensor& logits, const Tensor& labels, uint64_t seed = 0,
                      const std::vector<int64_t>& samples = {});

/// Every row once per class that is not its label: N * (K - 1) rows, a row's targets next to each other in
/// rising order.
AttackInput with_all_targets(const AttackInput& input, int64_t classes);

}  // namespace hashgrad
