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

/// [N] int64: per row the class with the rank-th largest logit among those that are not the label; rank 0 is
/// the runner-up. Ties go to the lowest class. rank < K - 1.
Tensor rivals(const Tensor& logits, const Tensor& labels, int64_t rank);
/// The classes but `label`, the largest of these K logits first; ties in rising order.
std::vector<int64_t> by_logit(const std::vector<double>& logits, int64_t label);

/// Every row once per class that is not its label: N * (K - 1) rows, a row's targets next to each other in
/// rising order.
AttackInput with_all_targets(const AttackInput& input, int64_t classes);

}  // namespace hashgrad
