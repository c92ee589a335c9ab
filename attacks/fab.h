// Fast adaptive boundary attack (Croce and Hein, ICML 2020): the smallest perturbation, by walking along the
// decision boundary.
#pragma once

#include "attacks/registry.h"

namespace hashgrad {

/// At x_k the nearest boundary is linearised; d_k and d_0 are the shortest ways from x_k and from the image
/// to it inside the box. x_{k+1} = clip((1 - a)(x_k + eta d_k) + a (x_0 + eta d_0)), a = min(||d_k|| /
/// (||d_k|| + ||d_0||), alpha_max). Where that is adversarial it is kept if it is the nearest so far, and
/// drawn back towards the image by beta. Three secant steps towards the image end the search.
class Fab : public Attack {
 public:
  struct Options {
    Norm norm = Norm::linf;
    double eps = 0;  // pixels; 0: the smallest distance. Else a row ends at its first image in this ball
    int64_t iters = 100;
    int64_t restarts = 1;  // the first from the image, others from around it
    int64_t targets = 0;   // the boundaries of so many likeliest classes, one after the other; 0: of all
    double alpha_max = 0.1;
    double eta = 1.05;
    double beta = 0.9;
    uint64_t seed = 0;
  };
  explicit Fab(Options options);
  /// "fab", and by target classes "fab-t": one cotangent per step instead of one per class.
  static AttackInfo info();
  static AttackInfo targets_info();

  std::string name() const override { return options_.targets > 0 ? "fab-t" : "fab"; }
  std::string repr() const override;
  std::optional<Threat> threat() const override;

 protected:
  Crafted craft(const Oracle& oracle, const AttackInput& input) const override;

 private:
  Options options_;
};

}  // namespace hashgrad
