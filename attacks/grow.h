// The attack method of Liu et al., ASP-DAC 2018 (A-ALG1): craft once, then enlarge the perturbation until the
// prediction changes.
#pragma once

#include <functional>
#include <vector>

#include "attacks/attack.h"

namespace hashgrad {

/// Every row under every budget. The reference of success is the model's own clean prediction Y, not the
/// label.
struct Growth {
  std::vector<double> budgets;       // ascending
  std::vector<int64_t> clean;        // [N] predictions without perturbation
  std::vector<int64_t> predictions;  // [budgets, N]; -1: no answer, or not asked, the row had changed already
  std::vector<Status> status;        // [N] ok: changed at some budget
  std::vector<bool> zero_gradient;   // [N] the gradient at the clean image is exactly zero

  int64_t rows() const { return static_cast<int64_t>(clean.size()); }
  /// Index of the smallest budget that changes the prediction of a row; -1 if none does.
  int64_t first_change(int64_t row) const;
  /// Rows whose prediction has changed at this or a smaller budget: what A-ALG1 counts. Never falls.
  int64_t cumulative(size_t budget) const;
  /// Rows whose prediction differs under exactly this budget. Only with GrowOptions::fixed.
  int64_t fixed(size_t budget) const;
};

struct GrowOptions {
  std::vector<double> budgets;
  /// Also evaluate rows that have changed already, so that fixed() is known.
  bool fixed = true;
  int64_t batch = 128;
  /// Told the share of the work done, in [0,1]; may be empty.
  std::function<void(double)> progress = {};
};

/// HFGSM (A-E5, A-E6): x + eps * sign(gradient), clipped, for eps = budgets; the gradient is that of `loss`
/// for Y, taken once at x.
Growth grow_fgsm(const Model& model, const Tensor& x, const Loss& loss, const GrowOptions& options);

/// HJSMA (A-E7): the i = budgets features with the largest saliency, computed once at x, are set to 1. Only
/// features below 1 with saliency > 0 count; a row that runs out of them ends with no_pair and keeps its last
/// prediction. The paper leaves the target class open: it is the runner-up of the clean prediction.
Growth grow_jsma(const Model& model, const Tensor& x, Outputs of, const GrowOptions& options);

/// The images of one budget of these, for pictures: [N,C,H,W], where x is.
Tensor fgsm_images(const Model& model, const Tensor& x, const Loss& loss, double eps, int64_t batch = 128);
Tensor jsma_images(const Model& model, const Tensor& x, Outputs of, int64_t features, int64_t batch = 128);

}  // namespace hashgrad
