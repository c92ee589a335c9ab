// Fast gradient method: the step keeps the gradient's direction (Goodfellow et al., ICLR 2015; C-E4).
#pragma once

#include "attacks/library_rules.h"

namespace hashgrad {

/// x_adv = clip(x + eps * gradient / ||gradient||), in the L2 or the L1 norm, or clip(x + eps * gradient)
/// when not normalised.
class Fgm : public Attack {
 public:
  struct Options {
    Norm norm = Norm::l2;  // l2 or l1
    double eps = 1.0;      // length in pixels; a plain factor when not normalised
    bool normalise = true;
    Loss loss = "ce";
    bool own_prediction = false;
    LibraryRules rules{.step = StepRule::dense};  // other than this: steps of another library
  };
  explicit Fgm(Options options);
  static AttackInfo info();

  std::string name() const override { return "fgm"; }
  std::string repr() const override;
  /// The unnormalised step is as long as the gradient makes it: no ball.
  std::optional<Threat> threat() const override;
  bool on_device() const override { return on_every_engine(options_.norm) && options_.rules.floor == 0; }

 protected:
  Crafted craft(const Oracle& oracle, const AttackInput& input) const override;

 private:
  Options options_;
};

}  // namespace hashgrad
