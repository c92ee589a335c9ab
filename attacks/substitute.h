// Black-box substitute (Papernot, McDaniel, Goodfellow, Jha, Celik and Swami, AsiaCCS 2017): a model of one's
// own, trained on the answers of the victim, whose adversarial images are then applied to the victim
// (transfer.h).
#pragma once

#include <functional>

#include "attacks/attack.h"
#include "nn/train.h"

namespace hashgrad {

/// What a run has come to: after `count` trainings, the images of the last one and the victim's labels.
struct SubstituteRounds {
  int64_t count = 0;
  Tensor images{}, labels{};  // [N,C,H,W], [N]
};

struct SubstituteOptions {
  int64_t rounds = 6;   ///< trainings; before each but the first the set of images doubles
  double lambda = 0.1;  ///< length, in pixels, of the step that makes a new image from an old one
  int64_t flip = 3;     ///< the step changes its direction every so many rounds; 0: never
  /// Of one round; its seed is that of everything random here. When its stop flag is set, Stopped is thrown
  /// (attacks/gradient.h).
  TrainOptions training{.epochs = 10, .optimizer = {.kind = OptimizerOptions::Kind::adam}, .lr = 1e-3};
  /// Told after each training: round (from 1), images, and how many of them the substitute classifies as the
  /// victim.
  std::function<void(int64_t round, int64_t images, int64_t agreed)> progress{};
  /// What an earlier run has finished: `substitute` is given as it was then, and ends with the same bits.
  SubstituteRounds finished{};
  /// Told after each training but the last: what there is to go on with, beside the substitute as it stands.
  std::function<void(const SubstituteRounds&)> keep{};
};

/// Jacobian augmentation: clip(x + step sign(d softmax(substitute(x))_k / dx)) of every image x [N,C,H,W], k
/// its label [N].
Tensor augment(const Model& substitute, const Tensor& x, const Tensor& labels, double step,
               int64_t batch = 128);

/// Trains `substitute` in place on `seeds` [N,C,H,W] in [0,1] as the victim labels them, then, round by
/// round, on twice as many: the images so far and, from each, one more by augment() with a step of +-lambda,
/// labelled by the victim. Returns the number of labels it was asked for, seeds.size(0) * 2^(rounds - 1).
/// Errors: options out of range, images that are not of the victim's kind, a substitute that takes other
/// images or knows other classes than the victim.
int64_t train_substitute(const Oracle& victim, Model& substitute, const Tensor& seeds,
                         const SubstituteOptions& options);

}  // namespace hashgrad
