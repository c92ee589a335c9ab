// Projected gradient ascent (Madry et al., ICLR 2018); without random start the basic iterative method
// (Kurakin, Goodfellow and Bengio, ICLR 2017 workshop).
#pragma once

#include "attacks/library_rules.h"

namespace hashgrad {

/// x <- project(x + step * steepest(gradient)), `iters` times, from the image or from a random point of the
/// ball. A row stops at its first success; one that never succeeds returns the iterate with the largest loss.
/// For l1 the step is spread over several pixels: the signs of the largest gradients that do not point out of
/// the box (Tramer and Boneh, NeurIPS 2019). For l0 a step is long and the projection keeps the largest
/// changes (Croce and Hein, ICCV 2019).
class Pgd : public Attack {
 public:
  struct Options {
    Norm norm = Norm::linf;
    double eps = 0.3;  // pixels
    double step = 0;   // length in the norm, l0: mean change of a pixel; 0 means 2.5 * eps / iters, l0: 0.15
    int64_t iters = 40;
    int64_t restarts = 1;  // a row that failed starts again, from another random point
    /// l1: share of the pixels that a step moves; at least one, and as many as the step is long, because no
    /// pixel moves by more than 1.
    double sparsity = 0.01;
    bool random_start = true;  // needed for more than one restart
    /// false: always `iters` steps, and the last iterate, as the papers' loops have it; so it is for a
    /// randomised model (Oracle::decides)
    bool early_stop = true;
    Loss loss = "ce";
    uint64_t seed = 0;
    LibraryRules rules{};  // other than the default: steps and projections of another library
  };
  explicit Pgd(Options options);
  static AttackInfo info();
  /// The same without random start, 10 steps: "bim".
  static AttackInfo bim_info();

  /// Without random start it is the basic iterative method.
  std::string name() const override { return options_.random_start ? "pgd" : "bim"; }
  std::string repr() const override;
  std::optional<Threat> threat() const override { return Threat{options_.norm, options_.eps}; }
  bool on_device() const override {
    return on_every_engine(options_.norm) && options_.rules == LibraryRules{};
  }

 protected:
  Crafted craft(const Oracle& oracle, const AttackInput& input) const override;

 private:
  Options options_;
};

}  // namespace hashgrad
