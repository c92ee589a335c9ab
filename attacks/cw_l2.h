// The L2 attack of Carlini and Wagner (S&P 2017).
#pragma once

#include "attacks/constant_search.h"
#include "attacks/tanh_space.h"

namespace hashgrad {

/// min ||x' - x||_2^2 + c * max(0, kappa - lead(x')) by Adam on w, x' = (tanh(w) + 1) / 2, once for every c
/// of the search; of all iterates that reach the goal by kappa, the nearest. The defaults are
/// CleverHans 2.1's.
class CwL2 : public Attack {
 public:
  struct Options {
    double kappa = 0;  // lead of the wanted class, in logits
    double c0 = 1e-2;
    int64_t c_steps = 5;
    int64_t iters = 1000;  // for each c
    double lr = 5e-3;
    bool abort_early = true;
    AdamEps adam_eps = AdamEps::tf1;
  };
  explicit CwL2(Options options);
  static AttackInfo info();

  std::string name() const override { return "cw-l2"; }
  std::string repr() const override;

 protected:
  Crafted craft(const Oracle& oracle, const AttackInput& input) const override;

 private:
  Options options_;
};

}  // namespace hashgrad
