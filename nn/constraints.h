// What fine-tuning must keep true of a compressed model's parameters. The seam to the training loop: the
// optimiser updates trained() instead of the model's own parameters, between constrain_gradients() and
// project().
#pragma once

#include <vector>

#include "core/archive.h"
#include "nn/model.h"

namespace hashgrad {

/// Three rules, by model.coding:
///
/// - pruned: the gradient of a zero is zero. The optimiser's state then is zero too, and the weight stays.
///   pruned       the gradient of a zero is zero; the optimiser's state then is too, and the weight stays
///   shared       weights of one value are one centroid, whose gradient is the sum of theirs; they get the
///                same updates and stay equal. Which belong together is settled when training begins. On the
///                CPU only.
///   fixed point  the optimiser updates float masters, the model holds them rounded; the gradient passes
///                straight through the rounding and is zero where it saturates
class Constraints {
 public:
  /// Rounds what is to be of a fixed-point format. Keeps pointers into the model. Error when the model is on
  /// a device and has shared weights.
  explicit Constraints(Model& model);
  Constraints(const Constraints&) = delete;
  Constraints& operator=(const Constraints&) = delete;

  /// What the optimiser updates: the model's parameters, masters in place of those in fixed point.
  std::vector<Parameter> trained();
  /// Turns the gradients that backward() left in the model into those of trained(). Issues work and waits for
  /// nothing, so on a device a recording holds it.
  void constrain_gradients();
  /// Brings the values of trained() into the model.
  void project();

  /// Masters as tensors "train.master.<parameter>"; `name` opens error messages.
  void save(Archive& archive) const;
  void load(const Archive& archive, const std::string& name);

 private:
  struct Master {
    Variable* parameter;
    Variable value;  // same shape, not rounded
    FixedPointFormat format;
    std::string name;
  };
  /// The weights of one shared parameter by their value: group[i] of weight i, -1 for one that stays zero.
  struct Groups {
    Variable* parameter;
    std::vector<int32_t> group;
    size_t count = 0;
  };
  Variable& trained_of(const Parameter& p);

  std::vector<Parameter> parameters_;
  std::vector<Parameter> pruned_;  // as trained
  std::vector<Groups> shared_;
  std::vector<Master> masters_;
};

/// Rounds every parameter that `model.coding` says is of a fixed-point format. -0 becomes 0.
void round_parameters(Model& model);

}  // namespace hashgrad
