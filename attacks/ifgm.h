// Iterative fast gradient methods as compression studies run them: eps is the step (C-ALG1; Kurakin,
// Goodfellow and Bengio, 2017).
#pragma once

#include "attacks/registry.h"

namespace hashgrad {

/// x <- Clip(x + eps * sign(g)) or Clip(x + eps * g), `iters` times from the image. Clip keeps every pixel
/// within eps of the previous iterate (as C-ALG1 says: the perturbation may grow to iters * eps) or of the
/// image (as Kurakin et al. do).
class Ifgm : public Attack {
 public:
  enum class Ball { prev, origin };
  struct Options {
    bool sign = true;    // false: eps * g, clipped to eps per pixel
    double eps = 0.02;   // pixels: size of a step, and of the clipping
    int64_t iters = 12;  // the default eps and iters are those of C
    Ball ball = Ball::prev;
    bool early_stop = true;  // false: always `iters` steps, and the last iterate
    Loss loss = "ce";
  };
  explicit Ifgm(Options options);
  /// "ifgm", and with sign "ifgsm".
  static AttackInfo info();
  static AttackInfo sign_info();

  std::string name() const override { return options_.sign ? "ifgsm" : "ifgm"; }
  std::string repr() const override;
  /// None around the previous iterate: that bounds the step, not the perturbation.
  std::optional<Threat> threat() const override;

 protected:
  Crafted craft(const Oracle& oracle, const AttackInput& input) const override;

 private:
  Options options_;
};

}  // namespace hashgrad
