// What Wang et al., GlobalSIP 2018, measure, as settings: M0 (on CIFAR-10: C0), a plain network; M1, pruned;
// M2, pruned and with logits augmentation; and at three scales of cost.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "compression/prune.h"
#include "experiments/study/paper.h"

namespace hashgrad::wang2018 {

/// Adam at 0.001 with targets of 0.9 for the label and 0.1 / 9 for each other class (D7).
struct Training {
  int64_t images;  ///< the first so many of the training split
  int64_t epochs, batch;
};

struct Setup {
  std::string network = "wang2018-mnist", data = "mnist";
  /// In tables: plain, pruned, pruned and augmented.
  std::array<std::string, 3> names{"M0", "M1", "M2"};
  Training base;
  IterativePruning pruning{};                      ///< D2
  Training retraining;                             ///< after each round
  double eps = 20;                                 ///< of the logits augmentation in M2
  double recommended_eps = 20;                     ///< of it, by the authors' program (D4)
  std::string other_eps = "has 100 as a default";  ///< what else that program has been given
  std::vector<double> strengths;                   ///< eps of the figure
  int64_t attacked;                                ///< first N test images of FGSM and BIM
  int64_t scrutinised;  ///< first N test images of the stronger attacks and the figure
  int64_t cw_images;    ///< first N test images of C&W, each with nine targets
  int64_t cw_iters;     ///< of the stronger C&W, for each of nine c
  double cw_lr;         ///< of the same: fewer iterations need longer steps
  int64_t square_questions;
  double usual_radius = 0;  ///< linf of one more of the stronger attacks, far below the paper's 0.3; 0: none
};

/// `full` is the protocol of the authors' program, as far as it is known: D2, D7, D8. On "cifar10" it is that
/// of C0 to C2; on any other data that of M0 to M2. Without data: those of the scale.
Setup setup_of(study::Scale scale, const std::string& data = {});

/// Which class is the goal: any but the label; the next one, cyclic; each of the nine others.
enum class Aim { away, next, all };
const char* name_of(Aim aim);

struct Search {
  std::string name;  ///< column of a table
  std::string spec;  ///< make_attack()
  Aim aim;
  int64_t images;
  double passes;         ///< forward and backward passes per image, at most: for the estimate of the cost
  bool float64 = false;  ///< crafted in float64
};

/// D8 and D9, on both data: FGSM at 0.3, BIM of ten steps of 0.05 within 0.3, both untargeted and targeted;
/// C&W for each target with c = 10 and 100 iterations at 0.1. The class that targeted FGSM and BIM aim at is
/// not known.
std::vector<Search> paper_attacks(const Setup& setup);
/// The same without the float32 softmax, and others that do not need it.
std::vector<Search> stronger_attacks(const Setup& setup);
/// Of the figure over strengths.
std::vector<Search> figure_attacks(const Setup& setup);

}  // namespace hashgrad::wang2018
