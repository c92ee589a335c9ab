// Fast gradient method: the step keeps the gradient's direction (Goodfellow et al., ICLR 2015; C-E4).
#pragma once

#include "attacks/registry.h"

namespace hashgrad {

/// x_adv = clip(x + eps * gradient / ||gradient||_2), or clip(x + eps * gradient) when not normalised.
class Fgm : public Attack {
 public:
  struct Options {
    double eps = 1.0;  // L2 length in pixels; a plain factor when not normalised
    bool normalise = true;
    Loss loss = "ce";
    bool own_prediction = false;
  };
  explicit Fgm(Options options);
  static AttackInfo info();

  std::string name() const override { return "fgm"; }
  std::string repr() const override;
  /// The unnormalised step is as long as the gradient makes it: no ball.
  std::optional<Threat> threat() const override;
  bool on_device() const override { return true; }

 protected:
  Crafted craft(const Oracle& oracle, const AttackInput& input) const override;

 private:
  Options options_;
};

}  // namespace hashgrad
