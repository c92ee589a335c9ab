// The Linf attack of Carlini and Wagner (S&P 2017).
#pragma once

#include "attacks/constant_search.h"
#include "attacks/tanh_space.h"

namespace hashgrad {

/// min c * max(0, kappa - lead(x')) + sum_i max(0, |x'_i - x_i| - tau) by Adam in tanh space. Each time both
/// terms vanish, tau falls below the largest change, and the search goes on from there; as long as they do
/// not, c doubles after `iters` iterations. Of all iterates that reach the goal by kappa, the nearest. The
/// defaults are those of the attack's own repository.
class CwLinf : public Attack {
 public:
  struct Options {
    double kappa = 0;  // lead of the wanted class, in logits
    double c0 = 1e-5;
    int64_t c_steps = 21;  // values of c, each twice the last one
    int64_t iters = 1000;  // for each c
    double lr = 5e-3;
    double tau_factor = 0.9;  // tau falls to this part of the largest change; the search ends at tau = 1/256
    AdamEps adam_eps = AdamEps::tf1;
  };
  explicit CwLinf(Options options);
  static AttackInfo info();

  std::string name() const override { return "cw-linf"; }
  std::string repr() const override;

 protected:
  Crafted craft(const Oracle& oracle, const AttackInput& input) const override;

 private:
  Options options_;
};

}  // namespace hashgrad
