// Jacobian-based saliency map attack (Papernot et al., EuroS&P 2016; single features: A-E7).
#pragma once

#include "attacks/registry.h"

namespace hashgrad {

/// Changes few pixels, each by much: step after step the feature, or the pair of features, whose change
/// raises the target's output most while lowering the others'. Untargeted, the target is the most likely
/// class that is not the label.
class Jsma : public Attack {
 public:
  enum class Rule { pair, single };
  struct Options {
    Rule rule = Rule::pair;
    Outputs on = Outputs::probs;
    double theta = 1;    // change of a feature in one step, in [-1,1], not 0
    double gamma = 0.1;  // steps: floor(n * gamma / 2) pairs, or floor(n * gamma) features, of n in an image
  };
  explicit Jsma(Options options);
  static AttackInfo info();

  std::string name() const override { return "jsma"; }
  std::string repr() const override;
  /// Most steps on an image of this many features.
  int64_t steps(int64_t features) const;

 protected:
  Crafted craft(const Oracle& oracle, const AttackInput& input) const override;

 private:
  Options options_;
};

Jsma::Rule parse_jsma_rule(const std::string& text);
const char* name_of(Jsma::Rule rule);

}  // namespace hashgrad
