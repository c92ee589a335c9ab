// Fast gradient sign method (Goodfellow, Shlens and Szegedy, ICLR 2015; A-E5, C-E5).
#pragma once

#include "attacks/registry.h"

namespace hashgrad {

/// x_adv = clip(x + eps * sign(gradient)), one gradient, sign(0) = 0. Every row takes the step, also one that
/// the model already gets wrong (its status says so).
class Fgsm : public Attack {
 public:
  struct Options {
    double eps = 0.3;  // pixels
    Loss loss = "ce";
    bool own_prediction = false;  // differentiate the loss of the model's prediction instead of the label's
  };
  explicit Fgsm(Options options);
  static AttackInfo info();

  std::string name() const override { return "fgsm"; }
  std::string repr() const override;
  std::optional<Threat> threat() const override { return Threat{Norm::linf, options_.eps}; }
  bool on_device() const override { return true; }

 protected:
  Crafted craft(const Oracle& oracle, const AttackInput& input) const override;

 private:
  Options options_;
};

}  // namespace hashgrad
