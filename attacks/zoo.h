// Zeroth order optimisation (Chen, Zhang, Sharma, Yi and Hsieh, AISec 2017): the objective of Carlini and
// Wagner, minimised a few coordinates at a time by finite differences of what the model answers.
#pragma once

#include "attacks/registry.h"

namespace hashgrad {

/// Minimises ||x' - x||_2^2 + c max(0, D(x') + kappa) inside the box, D how far the goal is still away:
/// untargeted s_y - max_{j != y} s_j, targeted max_{j != t} s_j - s_t, of scores s. Each step draws
/// `coordinates` of the image and asks for x', and for x' +- h along each of them: 1 + 2 `coordinates`
/// forward passes. Returned is the successful iterate nearest to x; a row without one stays where it is.
class Zoo : public Attack {
 public:
  enum class Rule {
    adam,    ///< Adam, with moments and a count of steps for each coordinate
    newton,  ///< lr * gradient / curvature, where a negative curvature counts as 1 and none as less than 0.1
    hybrid   ///< newton where the curvature is not negative, else adam
  };
  struct Options {
    Rule rule = Rule::adam;
    /// The scores: probs, log(softmax + 1e-30) of a softmax in the model's element type, as published; it is
    /// constant, and the attack stands still, where the other classes underflow. logits: z.
    Outputs on = Outputs::probs;
    double kappa = 0;
    double c0 = 0.5;
    int64_t c_steps = 1;  // of the search for the smallest c that succeeds, bisection as in cw-l2
    int64_t iters = 3000;
    int64_t coordinates = 128;
    double lr = 0.01;
    /// Distance of a probe, pixels, cut by the box. 0: 1e-4; where a curvature is to be had from float32
    /// logits 1e-2, because at 1e-4 it would be rounding alone.
    double h = 0;
    bool importance = false;  // draw coordinates more often where the image has changed
    uint64_t seed = 0;
  };
  explicit Zoo(Options options);
  static AttackInfo info();

  std::string name() const override { return "zoo"; }
  std::string repr() const override;
  bool uses_gradients() const override { return false; }

 protected:
  Crafted craft(const Oracle& oracle, const AttackInput& input) const override;

 private:
  Options options_;
};

/// Accepts adam, newton, hybrid.
Zoo::Rule parse_zoo_rule(const std::string& text);
const char* name_of(Zoo::Rule rule);

}  // namespace hashgrad
