// The attack method of Liu et al., ASP-DAC 2018 (A-ALG1), around any attack that has a budget: try the
// smallest budget, and enlarge it for the rows that resist.
#pragma once

#include "attacks/registry.h"

namespace hashgrad {

/// Runs the same attack under every budget, in ascending order; a row that is broken leaves. So success under
/// a budget counts that under all smaller ones, and never falls. first_success is the number of budgets
/// tried; a row that resists all has the image of the largest. The paper takes the gradient once and
/// stretches it, and wants a prediction that is not the model's own: grow_fgsm and grow_jsma (attacks/grow.h)
/// are that to the letter; here every budget is an attack of its own, and the goal is that of the input.
class Growing : public Attack {
 public:
  /// `info` with `given` settings but for the budget, which is "eps" or, without one, "gamma". Errors: an
  /// attack that has neither, a budget among the given settings, budgets that do not ascend, or none.
  Growing(const AttackInfo& info, const std::map<std::string, std::string>& given,
          const std::vector<double>& budgets, uint64_t seed);

  std::string name() const override { return "growing-" + name_; }
  std::string repr() const override;
  std::optional<Threat> threat() const override { return members_.back()->threat(); }
  bool uses_gradients() const override { return members_.front()->uses_gradients(); }
  const std::vector<double>& budgets() const { return budgets_; }

 protected:
  Crafted craft(const Oracle& oracle, const AttackInput& input) const override;
  int64_t passes_per_count(const Oracle&) const override { return 1; }

 private:
  std::string name_;
  std::vector<double> budgets_;
  std::vector<std::unique_ptr<Attack>> members_;
};

}  // namespace hashgrad
