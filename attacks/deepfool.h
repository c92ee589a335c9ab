// DeepFool (Moosavi-Dezfooli, Fawzi and Frossard, CVPR 2016): the nearest decision boundary, again and again.
#pragma once

#include "attacks/registry.h"

namespace hashgrad {

/// r <- r + the way to the nearest linearised boundary and 1e-4 past it; x <- clip(x_0 + (1 + overshoot) r),
/// until the goal is reached. The nearest minimises |f_k| / ||w_k||_2 (l2) or |f_k| / ||w_k||_1 (linf) over
/// the classes with the largest logits at x, f_k = z_k - z_y, w_k = df_k/dx. Targeted, the only boundary is
/// the target's with the current prediction.
class DeepFool : public Attack {
 public:
  struct Options {
    Norm norm = Norm::l2;
    int64_t candidates = 10;  // classes considered, the label's own included; no more than the model has
    double overshoot = 0.02;
    int64_t iters = 50;
    /// CleverHans 2.1: no overshoot before the end, and |f_k| enlarged by 1e-5 in the place of the 1e-4.
    bool cleverhans = false;
  };
  explicit DeepFool(Options options);
  static AttackInfo info();

  std::string name() const override { return "deepfool"; }
  std::string repr() const override;

 protected:
  Crafted craft(const Oracle& oracle, const AttackInput& input) const override;

 private:
  Options options_;
};

}  // namespace hashgrad
