// What Zhao et al., "To compress or not to compress", SysML 2019, measure, as settings: which networks, how
// they are trained, which attacks; and at three scales of cost.
#pragma once

#include <string>
#include <vector>

#include "autograd/ops/fixed_point.h"
#include "experiments/study/paper.h"

namespace hashgrad::zhao2019 {

/// One network of the study: the dense one in float32, one pruned to a density, or one in fixed point.
struct Variant {
  double density = 1;
  int width = 0;  ///< bits of weights and activations; 0: float32

  bool dense() const { return density == 1 && width == 0; }
  /// "dense", "density 0.1", "8 bits": its name in tables, and its label in the study.
  std::string label() const;
};

/// C8: of 4 bits one stands in front of the binary point (the sign), of 8 bits two, of all others four.
FixedPointFormat format_of(int width);

struct Training {
  int64_t images;  ///< the first so many of the training split
  int64_t epochs, batch;
  double lr;
  std::string optimizer, schedule;
};

/// An attack of the paper, or one that asks whether the paper's has found all there is.
struct Search {
  std::string name;  ///< column of a table
  std::string spec;  ///< make_attack()
  double passes;     ///< forward and backward passes per image, at most: for the estimate of the cost
  /// Follow the gradients of the same weights without rounding or clipping of activations, instead of those
  /// that pass straight through the rounding and end at the clip.
  bool float_gradients = false;
};

/// What the printed version is remembered to say of its attacks, unverified (C9).
struct PublishedSettings {
  double ifgm_eps;
  int64_t ifgm_iters, deepfool_iters;
};

struct Setup {
  std::string network = "lenet5", data = "mnist";
  std::vector<double> densities;
  std::vector<int> widths;
  Training base, retraining;
  int64_t attacked;     ///< first N test images of figures 2, 4 and 6
  int64_t scrutinised;  ///< first N test images of figure 3 and of the stronger attacks
  /// linf at which the stronger attacks leave something right to tell networks apart by.
  double telling_radius = 0.1;
  std::vector<double> f3_eps;
  std::vector<int64_t> f3_iters;
  int64_t square_questions;
  std::string gradients = "kept";        ///< of surgery: to the weights "kept" (Mayo), or to "all" (Guo)
  std::string attack_settings = "text";  ///< "text" or "published", see paper_attacks()
  PublishedSettings published{10, 5, 5};
  std::string ball = "prev";  ///< C-ALG1's Clip: around the previous iterate ("prev") or the image

  std::vector<Variant> pruned() const;
  std::vector<Variant> quantised() const;
};

/// One of the two figures of three panels: networks compressed more and more.
struct Panel {
  std::string figure, name, axis;
  std::vector<Variant> variants;
  double (*level)(const Variant&);  ///< place on the axis
};
Panel pruning_panel(const Setup& setup);
Panel quantisation_panel(const Setup& setup);

/// `full` is the paper's protocol: 350 epochs (CifarNet: 300) at each density and width, all test images. On
/// "cifar10" it is that of CifarNet; on any other data that of LeNet5. Without data: those of the scale.
Setup setup_of(study::Scale scale, const std::string& data = {});

/// IFGSM, IFGM and DeepFool, every step taken and the last iterate returned, as C-ALG1 has it. "text" is what
/// the manuscript says: 0.02 and 12 for all three, which for DeepFool are its overshoot and its iterations.
/// "published": IFGM and DeepFool by setup.published, the overshoot 0.01.
std::vector<Search> paper_attacks(const Setup& setup);
/// How far IFGSM can move a pixel: 12 steps of 0.02 around the previous iterate, 0.02 around the image.
double ifgsm_budget(const Setup& setup);
/// Scenario 1 of figure 3.
Search figure3_attack(const std::string& name, double eps, int64_t iters, const Setup& setup);
/// Attacks within `radius` (linf) that depend neither on the size of gradients nor, the last one, on
/// gradients. Those with float gradients apply to networks in fixed point only.
std::vector<Search> stronger_attacks(double radius, bool quantised, const Setup& setup);
/// Radii of the stronger attacks: one that tells networks apart, and what IFGSM may use up.
std::vector<double> radii(const Setup& setup);
/// Unbounded DeepFool: its median distance does not depend on a budget.
Search distance_attack();

}  // namespace hashgrad::zhao2019
