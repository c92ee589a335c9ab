// The elastic-net attack (Chen, Sharma, Zhang, Yi and Hsieh, AAAI 2018).
#pragma once

#include "attacks/constant_search.h"

namespace hashgrad {

/// min ||x' - x||_2^2 + beta * ||x' - x||_1 + c * max(0, kappa - lead(x')) by FISTA, once for every c of the
/// search: gradient steps on all but the L1 term at a point y that runs ahead of x', then shrinkage by beta.
/// Of all x' that reach the goal by kappa, the one that the rule prefers. The defaults are CleverHans 3.1's.
class Ead : public Attack {
 public:
  /// The distance to choose by: en: ||.||_2^2 + beta * ||.||_1; l1: ||.||_1.
  enum class Rule { en, l1 };
  struct Options {
    Rule rule = Rule::en;
    double beta = 1e-2;
    double kappa = 0;  // lead of the wanted class, in logits
    double c0 = 1e-3;
    int64_t c_steps = 9;
    int64_t iters = 1000;  // for each c
    double lr = 1e-2;      // falls as sqrt(1 - k / iters)
    bool abort_early = false;
    bool fista = true;  // false: ISTA, y = x'
  };
  explicit Ead(Options options);
  static AttackInfo info();

  std::string name() const override { return "ead"; }
  std::string repr() const override;

 protected:
  Crafted craft(const Oracle& oracle, const AttackInput& input) const override;

 private:
  Options options_;
};

Ead::Rule parse_ead_rule(const std::string& text);
const char* name_of(Ead::Rule rule);

}  // namespace hashgrad
