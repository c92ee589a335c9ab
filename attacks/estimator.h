// The robustness estimator of Liu and Wen, TNNLS 2021: how steep and how uneven a network's logits are, in
// place of attacking it.
#pragma once

#include "attacks/gradient.h"

namespace hashgrad {

/// Means over images, in logits and logits per pixel (B-E3b, B-E3c).
struct Estimate {
  double g = 0;    ///< mean |d z_j / d x_i| over the m logits and n pixels of an image
  double phi = 0;  ///< variance of the m logits of an image, divided by m
};

/// Of images [N,C,H,W] with pixels in [0,1], one at least. Sums in float64, image by image: the batch changes
/// no bit. Of a randomised network those of its mean logits over the oracle's draws. Errors: no images,
/// logits or derivatives that are not finite.
Estimate estimate_robustness(const Oracle& oracle, const Tensor& x);

/// R = alpha g + (1 - alpha) phi, alpha in [0,1]; smaller is meant to be better (B-E3). The paper compares it
/// within a grid of networks, where g and phi are brought to [0,1] first (compression/rate_search.h). It
/// grows with the scale of the logits, as an attack's success does not: what enlarges all weights looks
/// fragile here.
double robustness(const Estimate& estimate, double alpha);

}  // namespace hashgrad
