// Adversarial training: every update learns from images that were just now attacked on the model as it
// stands.
#pragma once

#include <string>

#include "nn/train.h"

namespace hashgrad {

/// The attack of a step. "pgd", "fast": iters times x <- project(x + step * sign(d ce / d x)) in the linf
/// ball of radius eps, from a random point of it, whether or not the image is already wrong; as Pgd
/// (attacks/pgd.h) without early stop, which judges and counts besides. "free": x <- clip(x + d) with a
/// perturbation d that is kept from step to step and moved by the gradient which the step's own backward pass
/// leaves at the images; each batch is learned from `replays` times in a row.
struct AdversarialTraining {
  std::string method = "pgd";
  double eps = 0.3;    // pixels
  double step = 0.01;  // pixels
  int64_t iters = 40;
  int64_t replays = 1;  // free

  /// Settings by name: "pgd", 40 steps of eps / 30 (Madry et al., ICLR 2018: 40 of 0.01 at eps 0.3); "fast",
  /// one step of 1.25 eps (Wong, Rice and Kolter, ICLR 2020); "free", 8 replays with steps of eps (Shafahi et
  /// al., NeurIPS 2019).
  static AdversarialTraining of(const std::string& method, double eps);
};
/// Errors: eps or step not in (0, 1], iters or replays not in [1, 1000], more than one iteration of "fast" or
/// "free", replays of another method than "free".
void validate(const AdversarialTraining& recipe);

/// The images [B,C,H,W] that the lesson's step of "pgd" or "fast" learns from. The attack sees the model in
/// inference: batch norm uses its running statistics and dropout is off, so that a row does not depend on its
/// batch. Random starts are functions of (seed, sample, step). The start of "pgd" is cut by the box [0,1];
/// that of "fast" is not, as in its authors' code: cut, a black pixel would end at 0 or eps and nowhere
/// between, and the model learns to hide from such images alone. The gradient takes input transforms, if the
/// model has some, for the identity (BPDA): training along their zero gradient would be training on noise.
Tensor adversarial_images(const Model& model, const AdversarialTraining& recipe, const Lesson& lesson,
                          uint64_t seed);

/// Makes `options` train `model`, which must outlive the training, on such images. Resuming gives the same
/// bits. "free" follows its authors' code (Shafahi et al., NeurIPS 2019):
///
///     d = 0                                                  one for each row of a batch, never reset
///     for each batch, replays times:
///       g = gradient of the loss at clip(x + d)              with respect to d: 0 where the box cut x + d
///       the network learns from the same loss
///       d <- clamp(d + step sign(g), -eps, eps)
///
/// with batch norm and dropout as in training. As there options.epochs counts replays: it becomes the passes
/// over the data, epochs / replays rounded up; milestones of the schedule count replays as well.
void train_adversarially(const Model& model, const AdversarialTraining& recipe, TrainOptions& options);

/// Writes {"method":"adversarial-training","attack":"fast","eps":..,"step":..,"iters":..} into `defences`; of
/// "free" also "replays".
void record_adversarial_training(Model& model, const AdversarialTraining& recipe);

/// Share of the images that stay right under 20 steps of pgd at `eps`. Falling from one epoch to the next
/// while the accuracy on one-step images rises is catastrophic overfitting: the model has learned to hide
/// from one step.
double pgd_accuracy(const Model& model, const Dataset& images, double eps);

}  // namespace hashgrad
