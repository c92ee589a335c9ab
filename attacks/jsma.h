// Jacobian-based saliency map attack (Papernot et al., EuroS&P 2016; single features: A-E7).
#pragma once

#include "attacks/registry.h"

namespace hashgrad {

/// Changes few pixels, each by much: step after step the feature, or the pair of features, whose change
/// raises the target's output most while lowering the others'. Untargeted, the target is the most likely
/// class that is not the label.
class Jsma : public Attack {
 public:
  /// pair: the best pair; single: the best feature (A-E7); rise: the two features that raise the target most,
  /// whatever the others do, as in ART. On probabilities that is the best pair, if raising it helps at all;
  /// on logits it is another attack.
  enum class Rule { pair, single, rise };
  struct Options {
    Rule rule = Rule::pair;
    Outputs on = Outputs::probs;
    double theta = 1;  // change of a feature in one step, in [-1,1], not 0
    /// Steps: floor(n * gamma / 2) pairs, or floor(n * gamma) features, of n in an image; rise goes on until
    /// more than n * gamma features have changed.
    double gamma = 0.1;
    // Rules of other libraries:
    bool once = false;      // a feature that was chosen once leaves the search, saturated or not
    double full = 1;        // features at or beyond this are out of the search (theta < 0: 1 - full)
    bool round_up = false;  // ceil in the place of floor
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
