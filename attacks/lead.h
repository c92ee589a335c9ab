// How far ahead the wanted class is: what the attacks that search for a nearest image differentiate, and how
// they keep the nearest one.
#pragma once

#include <limits>
#include <vector>

#include "attacks/live_rows.h"

namespace hashgrad {

/// What one image's logits say. The wanted class is the target, or any class but the label.
struct Lead {
  /// Logit of the (best) wanted class - the largest of the others, so that f(x') = max(0, kappa - value).
  double value;
  bool reached;  // the prediction is a wanted class
  bool finite;   // logits, and gradient if there is one, are numbers
  bool zero;     // the gradient is exactly zero

  /// The goal is reached, by kappa at least.
  bool by(double kappa) const { return reached && value >= kappa; }
};

/// One forward and one backward pass.
struct LeadGradient {
  std::vector<Lead> leads;
  Tensor gradient;  // [N,C,H,W] on the CPU, d value / d x
};

/// An Error that opens with `attack` unless kappa is in [0, 1e30] and lr, a learning rate, in (0, 1e30].
void validate_hinge(double kappa, double lr, const std::string& attack);

/// Of images x [N,C,H,W], by a forward pass; with the gradient, by a backward pass too.
std::vector<Lead> leads(const Oracle& oracle, const Tensor& x, const Goal& goal);
LeadGradient lead_gradient(const Oracle& oracle, const Tensor& x, const Goal& goal);

/// The nearest image found so far for every row, in whatever distance the attack minimises, and what was
/// spent on it. Different rows may be offered and counted by different threads. `first_success` of the
/// outcome counts candidates: the images that were judged, from 1.
class Nearest {
 public:
  /// Judges the clean images by a forward pass. Those whose goal is reached by kappa already are left alone.
  Nearest(const Oracle& oracle, const AttackInput& input, double kappa);

  /// The rows to attack, ascending.
  const std::vector<int64_t>& open() const { return open_; }

  /// One more candidate of the row, after these passes.
  void count(size_t row, int64_t forwards, int64_t backwards);
  /// The row's candidate reaches the goal at this distance: kept if it is the nearest.
  template <class T>
  void offer(size_t row, double distance, const T* image);
  /// Why the row ended, if no candidate reached the goal.
  void end(size_t row, Status why);

  bool found(size_t row) const { return best_[row] < std::numeric_limits<double>::infinity(); }
  Crafted take() { return std::move(out_); }

 private:
  Crafted out_;
  std::vector<double> best_;         // distance of x_adv
  std::vector<int64_t> candidates_;  // judged so far
  std::vector<int64_t> open_;
};

}  // namespace hashgrad
