// HopSkipJump (Chen, Jordan and Wainwright, IEEE S&P 2020): a small perturbation found by decisions alone.
#pragma once

#include "attacks/registry.h"

namespace hashgrad {

/// Starts at an image that reaches the goal, walks along the decision boundary towards the clean one, and
/// returns the nearest image found. Each of `iters` steps t estimates the boundary's normal from
/// min(probes sqrt(t), most_probes) decisions around the present point, moves along it by its distance over
/// sqrt(t), halved until the goal is still reached, and goes back to the boundary by bisection.
///
/// `first_success` counts the starting images that were tried. A row for which none reaches the goal stays
/// where it is, with status max_iter.
class HopSkipJump : public Attack {
 public:
  struct Options {
    Norm norm = Norm::l2;  // of the distance
    int64_t iters = 64;
    int64_t probes = 100;
    int64_t most_probes = 10000;
    /// Images [M,C,H,W] to start from, the first that reaches the goal; undefined: up to `draws` of uniform
    /// noise.
    Tensor starts{};
    int64_t draws = 1000;
    uint64_t seed = 0;
  };
  explicit HopSkipJump(Options options);
  static AttackInfo info();

  std::string name() const override { return "hop-skip-jump"; }
  std::string repr() const override;
  bool uses_gradients() const override { return false; }

 protected:
  Crafted craft(const Oracle& oracle, const AttackInput& input) const override;

 private:
  Options options_;
};

}  // namespace hashgrad
