// Losses of a classifier, each PER ROW: logits z [N,K] -> [N], so that a row's value and gradient never
// depend on its batch (take mean() to train, sum() to attack). Labels are int64 [N] in [0, K); one out of
// range is an Error that names the row. They may be on the CPU whatever the device of the logits is, which on
// devices is the faster way. A NaN logit makes the loss of its row NaN.
#pragma once

#include "autograd/node.h"
#include "cpu/loss.h"

namespace hashgrad {

struct CrossEntropy {
  static constexpr const char* name = "cross_entropy";
  Tensor targets;        // [N,K], the wanted distribution of each row
  Tensor gradient = {};  // saved: [N,K], of each row's loss by its logits
  Tensor forward(Needs needs, const Tensor& z);
  Gradients<1> backward(Needs needs, const Tensor& dy, int64_t copies) const;
};

struct ExactCrossEntropy {
  static constexpr const char* name = "exact_cross_entropy";
  Tensor labels;
  Tensor gradient = {};  // saved: [N,K], of each row's loss by its logits
  Tensor forward(Needs needs, const Tensor& z);
  Gradients<1> backward(Needs needs, const Tensor& dy, int64_t copies) const;
};

/// Margin and difference of logits ratio: (z_plus - z_minus) / scale of a row's logits.
struct LogitDifference {
  static constexpr const char* name = "logit_difference";
  cpu::LogitLoss kind;
  Tensor labels, targets = {};
  Tensor logits = {};    // saved
  Storage choices = {};  // saved: cpu::LogitChoice [N]
  Tensor forward(Needs needs, const Tensor& z);
  Gradients<1> backward(Needs needs, const Tensor& dy, int64_t copies) const;
};

/// One-hot rows [N,K] mixed with the uniform distribution: (1 - smoothing) * onehot + smoothing / K.
/// smoothing in [0, 1].
Tensor smoothed_one_hot(const Tensor& labels, int64_t classes, double smoothing, DType dtype,
                        Device device = {});
/// The same, on the labels' device, for int64 [N] that are known to lie in [0, classes): nobody looks at them
/// again.
Tensor smoothed_one_hot_of_valid(const Tensor& labels, int64_t classes, double smoothing, DType dtype);

/// -sum_j t_j log softmax(z)_j for target distributions t [N,K], which are constants.
/// dz = softmax(z) * sum(t) - t, computed in the element type.
template <TensorLike X>
X cross_entropy_soft(const X& logits, const Tensor& targets) {
  return apply(CrossEntropy{targets}, logits);
}

/// Cross-entropy with a label per row, optionally smoothed: log sum_j exp(z_j) - z_y when smoothing = 0.
/// dz = softmax(z) - onehot(y), computed in the element type on purpose: as in every framework, a float32
/// row that is confidently right loses its gradient, the label's entry beyond a gap of 17 (1 - p rounds to 0)
/// and the others beyond 103.97 (exp underflows). That is the zero gradient that gradient masking lives on;
/// exact_cross_entropy is the same direction without it.
template <TensorLike X>
X cross_entropy(const X& logits, const Tensor& labels, double smoothing = 0) {
  check(logits.rank() == 2, "cross_entropy: logits of shape {}, [N,K] expected", logits.shape());
  return cross_entropy_soft(
      logits, smoothed_one_hot(labels, logits.size(1), smoothing, logits.dtype(), logits.device()));
}

/// log sum_{j != y} exp(z_j) - z_y, K >= 2: a strictly increasing function of cross-entropy, log(e^CE - 1),
/// so its gradient has the same direction: dz = sum_{j != y} q_j (e_j - e_y), q = softmax over j != y with
/// its own maximum. The gradient's L1 norm is 2 in every row: it never underflows, however large the gap.
template <TensorLike X>
X exact_cross_entropy(const X& logits, const Tensor& labels) {
  return apply(ExactCrossEntropy{labels}, logits);
}

/// z_y - max_{j != y} z_j, K >= 2: positive where the row is classified as y. Of equal rivals the first
/// counts.
template <TensorLike X>
X margin_loss(const X& logits, const Tensor& labels) {
  return apply(LogitDifference{cpu::LogitLoss::margin, labels}, logits);
}

/// Difference of logits ratio, -(z_y - max_{j != y} z_j) / (z_(1) - z_(3)), K >= 3, z_(k) the k-th largest,
/// differentiated through the sorted terms (Croce and Hein, ICML 2020, eq. 6). Free of the logits' scale. A
/// row whose three largest logits are equal has no scale: it gets the margin, undivided.
template <TensorLike X>
X dlr_loss(const X& logits, const Tensor& labels) {
  return apply(LogitDifference{cpu::LogitLoss::dlr, labels}, logits);
}

/// Its targeted form, -(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2), K >= 4 (the same paper, eq. 7); targets
/// int64 [N]. A row whose four largest logits are equal gets -(z_y - z_t).
template <TensorLike X>
X dlr_targeted(const X& logits, const Tensor& labels, const Tensor& targets) {
  return apply(LogitDifference{cpu::LogitLoss::dlr_targeted, labels, targets}, logits);
}

}  // namespace hashgrad
