#include "attacks/constant_search.h"

#include <algorithm>

namespace hashgrad {
namespace {

constexpr double most_c = 1e10;

}  // namespace

void validate(const ConstantOptions& options, const std::string& attack) {
  check(options.c0 > 0 && options.c0 <= most_c, "{}: c0 = {}, a number in (0, 1e10] expected", attack,
        options.c0);
  validate_count(options.c_steps, "c_steps", attack);
  validate_count(options.iters, "iters", attack);
}

AttackSetting abort_early_setting(bool fallback) {
  return AttackSetting::word("abort-early", fallback ? "yes" : "no", {"yes", "no"},
                             "leave a c of which a tenth of the iterations gained nothing");
}

bool BisectedConstant::stalled(const ConstantOptions& options, double loss) {
  if (!options.abort_early || iter % std::max<int64_t>(1, options.iters / 10) != 0) return false;
  const bool first = previous_loss == std::numeric_limits<double>::infinity();
  const bool no_progress = !first && loss >= 0.9999 * previous_loss;
  previous_loss = loss;
  return no_progress;
}

bool BisectedConstant::next_step(const ConstantOptions& options) {
  (found ? upper : lower) = c;
  const double next = upper < most_c ? (lower + upper) / 2 : std::min(10 * c, most_c);
  const bool repeats = step + 2 == options.c_steps && options.c_steps >= 10;
  *this = {.c = repeats ? upper : next, .lower = lower, .upper = upper, .step = step + 1};
  return step < options.c_steps;
}

bool DoubledConstant::unsolved(const ConstantOptions& options) {
  ++taken;
  if (++iter < options.iters) return true;
  iter = 0;
  c = std::min(2 * c, most_c);
  return ++step < options.c_steps;
}

}  // namespace hashgrad
