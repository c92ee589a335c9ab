// The L0 attack of Carlini and Wagner (S&P 2017).
#pragma once

#include "attacks/constant_search.h"
#include "attacks/tanh_space.h"

namespace hashgrad {

/// min ||x' - x||_2^2 + c * max(0, kappa - lead(x')) by Adam in tanh space until the goal is reached by
/// kappa; then the pixels that matter least go back to their old value for good, and the search goes on from
/// there; as long as the goal is not reached, c doubles after `iters` iterations. The iterate with the fewest
/// changes is the result. The defaults are those of the attack's own repository.
class CwL0 : public Attack {
 public:
  struct Options {
    double kappa = 0.01;  // lead of the wanted class, in logits
    double c0 = 1e-3;
    int64_t c_steps = 31;  // values of c, each twice the last one
    int64_t iters = 1000;  // for each c
    double lr = 1e-2;
    bool channels_apart = false;  // false: all channels of a pixel go back together
    AdamEps adam_eps = AdamEps::tf1;
  };
  explicit CwL0(Options options);
  static AttackInfo info();

  std::string name() const override { return "cw-l0"; }
  std::string repr() const override;

 protected:
  Crafted craft(const Oracle& oracle, const AttackInput& input) const override;

 private:
  Options options_;
};

}  // namespace hashgrad
