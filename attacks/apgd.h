// Auto-PGD (Croce and Hein, ICML 2020): projected gradient ascent with momentum that finds its own step size.
// In L1 it is another one (Croce and Hein, "Mind the box", ICML 2021), which finds its own sparsity too.
#pragma once

#include "attacks/registry.h"

namespace hashgrad {

/// z = project(x_k + step * steepest(gradient)), x_{k+1} = project(x_k + 0.75 (z - x_k) + 0.25 (x_k -
/// x_{k-1})), from a random point of the ball, the first step without momentum. The step starts at 2 eps. At
/// checkpoints, ever more frequent, a row whose loss rose in no more than rho of the steps since the last
/// one, or which has found nothing better since although its step was not halved there, goes back to its best
/// point with half the step.
///
/// For l1 there is no momentum: x_{k+1} = project(x_k + step * the signs of the largest k gradients / k), in
/// three stages within balls of 3, 2 and 1 eps (30, 30 and 40 % of the steps), each from the best point of
/// the one before. k starts at 20 % of the pixels and the step at the stage's eps. After every 4 % of a
/// stage's steps k becomes 2/3 of the pixels that a row's best point changes; if these are 5 % fewer than
/// last time the row goes back there with the first step, else the step shrinks to 2/3, down to a tenth. Only
/// the last stage counts.
class Apgd : public Attack {
 public:
  struct Options {
    Norm norm = Norm::linf;
    double eps = 0.3;  // pixels
    int64_t iters = 100;
    int64_t restarts = 1;
    double rho = 0.75;
    Loss loss = "ce";     // ignored when targets > 0
    int64_t targets = 0;  // > 0: the targeted dlr loss of so many likeliest other classes in turn
    /// As the authors' program does: rows go on after a success and return the last one (so they do for a
    /// randomised model, see Oracle::decides); the first checkpoint compares the first loss with 0 instead of
    /// the loss of the start.
    bool autoattack = false;
    uint64_t seed = 0;
  };
  explicit Apgd(Options options);
  /// "apgd-ce" (ce, ce-exact), "apgd-dlr" (dlr, margin), and by target classes "apgd-t".
  static AttackInfo ce_info();
  static AttackInfo dlr_info();
  static AttackInfo targets_info();

  std::string name() const override;
  std::string repr() const override;
  std::optional<Threat> threat() const override { return Threat{options_.norm, options_.eps}; }

 protected:
  Crafted craft(const Oracle& oracle, const AttackInput& input) const override;

 private:
  Options options_;
};

/// The checkpoints of `iters` steps, in steps: after 22 % of them, then 19, 16, 13, 10, 7 % and 6 % ever
/// after.
std::vector<int64_t> apgd_checkpoints(int64_t iters);
/// Those of a stage of `iters` steps for l1: after every 4 % of them, rounded down.
std::vector<int64_t> apgd_l1_checkpoints(int64_t iters);

}  // namespace hashgrad
