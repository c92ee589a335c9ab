// Do images that were crafted on one model also fool another?
#pragma once

#include "attacks/attack.h"
#include "attacks/statistics.h"

namespace hashgrad {

/// What the adversarial images of one model do to another, or to itself.
struct Transfer {
  SuccessRates rates;  ///< of the model that they are applied to
  Rate reached;        ///< its prediction is the goal: not the label, or the target; of all images
  /// The same, of the images that the attack broke on the model they were crafted on, and with which this one
  /// was not at the goal before.
  Rate transferred;
};

/// Applies `crafted`, made from `input` on whatever model, to `target`, by Oracle::judge() in fp32. Rows of
/// one sample number are of one image (see Rate). Errors as of validate().
Transfer apply_to(const Model& target, const AttackInput& input, const AttackResult& crafted,
                  const OracleOptions& options = {});

}  // namespace hashgrad
