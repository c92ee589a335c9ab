// What an attacker wants of each row, and what an attack differentiates to get there: losses by name.
#pragma once

#include <string>
#include <vector>

#include "autograd/node.h"

namespace hashgrad {

/// What an attack differentiates, per sample, by the name it has on the command line:
///   ce          -log softmax(z)_y; its gradient softmax(z) - onehot(y) is rounded in the element type: in
///               float32 it is exactly zero once z_y leads by more than about 104
///   ce-exact    log sum_{j != y} exp z_j - z_y, a rising function of ce whose gradient never underflows
///   margin      z_y - max_{j != y} z_j
///   dlr         -(z_y - max_{j != y} z_j) / (z_(1) - z_(3)) (Croce and Hein, ICML 2020); 3 classes at least
///   ce-sigmoid  -log sigmoid(z_y): ce with a sigmoid in the place of softmax, as a stand-in for its
///               derivative (BPDA in paper B); in float32 exactly zero once z_y exceeds about 104
///   logit:K     z_K
///   prob:K      softmax(z)_K
class Loss {
 public:
  enum class Kind { ce, ce_exact, margin, dlr, ce_sigmoid, logit, prob };

  Loss() = default;
  /// Any other name is an Error that lists these.
  Loss(const std::string& name);  // NOLINT: a loss is written as its name
  Loss(const char* name) : Loss(std::string(name)) {}

  Kind kind() const { return kind_; }
  /// K of logit:K and prob:K.
  int64_t output() const { return output_; }
  std::string name() const;

 private:
  Kind kind_ = Kind::ce;
  int64_t output_ = 0;
};

/// Which outputs a Jacobian or a saliency map is of: "logits" or "probs".
enum class Outputs { logits, probs };
Outputs parse_outputs(const std::string& text);
const char* name_of(Outputs outputs);

/// What the attacker wants of each row. Untargeted: a prediction that is not the label. Targeted: the target.
struct Goal {
  Tensor labels;   // [N] int64; undefined where the model's own prediction is meant
  Tensor targets;  // [N] int64, or undefined

  bool targeted() const { return targets.defined(); }
  bool reached(int64_t row, int64_t prediction) const;
  Goal rows(const std::vector<int64_t>& rows) const;
};

/// The loss of each row: logits [N,K] and labels [N] give [N]. A class of logit:K or prob:K that the model
/// does not have is an Error.
template <TensorLike X>
X loss_of(const X& logits, const Tensor& labels, const Loss& loss);
/// What grows as the goal comes nearer: the loss of the label, or minus the loss of the target (margin the
/// other way round, dlr by its targeted form). logit:K and prob:K are not goals: an Error.
template <TensorLike X>
X objective_of(const X& logits, const Goal& goal, const Loss& loss);

}  // namespace hashgrad
