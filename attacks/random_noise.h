// The baseline without any method: random points of the ball. What noise achieves is no merit of an attack.
#pragma once

#include "attacks/registry.h"

namespace hashgrad {

/// Tries up to `draws` random images around each row, each the cost of one forward pass, and returns the
/// first that reaches the goal, else the one that came nearest to it (by the margin of the logits).
class RandomNoise : public Attack {
 public:
  enum class Rule {
    uniform,  ///< evenly over the ball
    gaussian  ///< linf: N(0, eps^2) for each pixel, cut at eps; l2, l1: normal noise scaled to length eps in
              ///< that norm; none for l0
  };
  struct Options {
    Rule rule = Rule::uniform;
    Norm norm = Norm::linf;
    double eps = 0.3;  // pixels
    int64_t draws = 1000;
    uint64_t seed = 0;
  };
  explicit RandomNoise(Options options);
  static AttackInfo info();

  std::string name() const override { return "random-noise"; }
  std::string repr() const override;
  bool uses_gradients() const override { return false; }
  std::optional<Threat> threat() const override { return Threat{options_.norm, options_.eps}; }

 protected:
  Crafted craft(const Oracle& oracle, const AttackInput& input) const override;

 private:
  Tensor draw(const AttackInput& rows, uint32_t number) const;

  Options options_;
};

/// Accepts uniform, gaussian.
RandomNoise::Rule parse_noise_rule(const std::string& text);
const char* name_of(RandomNoise::Rule rule);

}  // namespace hashgrad
