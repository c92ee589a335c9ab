// Momentum iterative method, MI-FGSM (Dong et al., CVPR 2018).
#pragma once

#include "attacks/library_rules.h"

namespace hashgrad {

/// m <- decay * m + g / mean |g|; x <- project(x + step * steepest(m)), `iters` times from the image; for l1
/// the step is along m / ||m||_1. The gradient is normalised before it is added and the sign taken after, so
/// a pixel's momentum keeps its weight.
class Mim : public Attack {
 public:
  struct Options {
    Norm norm = Norm::linf;
    double eps = 0.3;  // pixels
    double step = 0;   // pixels; 0 means 2 * eps / iters
    int64_t iters = 10;
    double decay = 1;
    bool early_stop = true;  // false: always `iters` steps, and the last iterate
    Loss loss = "ce";
    bool unit_first = false;  // Foolbox 3: m <- decay * m + steepest(g), for linf its sign
    LibraryRules rules{.step = StepRule::dense};  // other than this: those of another library
  };
  explicit Mim(Options options);
  static AttackInfo info();

  std::string name() const override { return "mim"; }
  std::string repr() const override;
  std::optional<Threat> threat() const override { return Threat{options_.norm, options_.eps}; }

 protected:
  Crafted craft(const Oracle& oracle, const AttackInput& input) const override;

 private:
  Options options_;
};

}  // namespace hashgrad
