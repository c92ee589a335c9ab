// What fine-tuning must keep true of a compressed model's parameters. The seam to the training loop: the
// optimiser updates trained() instead of the model's own parameters, between constrain_gradients() and
// project().
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/archive.h"
#include "nn/model.h"

namespace hashgrad {

/// Where a training stands before an update.
struct Moment {
  int64_t step = 0;             ///< updates made before
  int64_t steps_per_epoch = 1;  ///< of one pass over the data
  int64_t steps = 1;            ///< updates of the whole training
};

/// The full weights of a parameter and the mask, 1 or 0 for each, that says which of them the model holds.
struct MaskedWeights {
  std::string name;
  Tensor weights, mask;  // of the parameter's shape and type, on its device
};

/// Pruning that may change its mind in training (compression/dns.h): the optimiser updates full weights, the
/// model holds mask * weights.
struct Surgery {
  std::vector<std::string> parameters{};  ///< which; model.coding says of them that they are pruned
  bool pruned_learn = true;  ///< the gradient of a masked weight is the full weight's, or times the mask
  /// Asked in front of every update; changes masks in place and says whether it did. A function of its
  /// arguments alone, or a resumed run would differ. It may look at the weights of a device, which waits.
  std::function<bool(const Moment&, std::vector<MaskedWeights>&)> revise{};
};

/// How a number becomes one of a fixed-point format: the nearest, halves to even; or one of its two
/// neighbours, the upper with the probability that makes it right on average. The draw of a weight is a
/// function of (seed, parameter, index): it rounds alike in every step of a training and when it is written.
enum class Rounding { nearest, stochastic };

/// What a bucket value of a hashed layer learns from: the sum of the gradients of its virtual weights, signs
/// included, or their mean. A step of SGD by the mean takes the virtual matrix where the step of a dense
/// layer, projected onto the matrices that can be hashed, would have taken it.
enum class HashedGradient { sum, mean };

/// What training is told of constraints, beyond what model.coding says.
struct ConstraintOptions {
  Surgery surgery{};
  Rounding rounding = Rounding::nearest;  ///< stochastic: on the CPU only
  HashedGradient hashed_gradient = HashedGradient::sum;
  uint64_t seed = 0;  ///< of stochastic rounding
};

/// Four rules, the first three by model.coding:
///
///   pruned       the gradient of a zero is zero; the optimiser's state then is too, and the weight stays.
///                Under surgery the optimiser updates full weights instead, the model holds the kept ones
///   shared       weights of one value are one centroid, whose gradient is the sum of theirs; they get the
///                same updates and stay equal. Which belong together is settled when training begins. On the
///                CPU only.
///   fixed point  the optimiser updates float masters, the model holds them rounded; the gradient passes
///                straight through the rounding and is zero where it saturates
///   hashed       the gradient of a bucket value is a sum, or the mean of what it sums
class Constraints {
 public:
  /// Rounds what is to be of a fixed-point format. Keeps pointers into the model. Error when the model is on
  /// a device and has shared weights, or is to be rounded stochastically.
  explicit Constraints(Model& model, const ConstraintOptions& options = {});
  Constraints(const Constraints&) = delete;
  Constraints& operator=(const Constraints&) = delete;

  /// What the optimiser updates: the model's parameters, masters in place of those in fixed point, full
  /// weights in place of those under surgery.
  std::vector<Parameter> trained();
  /// In front of every update: lets surgery change masks, and the model follow them.
  void revise(const Moment& moment);
  /// Turns the gradients that backward() left in the model into those of trained(). Issues work and waits for
  /// nothing, so on a device a recording holds it.
  void constrain_gradients();
  /// Brings the values of trained() into the model.
  void project();

  /// Masters and full weights as tensors "train.master.<parameter>", masks as "train.mask.<parameter>";
  /// `name` opens error messages.
  void save(Archive& archive) const;
  void load(const Archive& archive, const std::string& name);

 private:
  /// What the optimiser updates in place of a parameter of the same shape.
  struct Master {
    std::string name;
    Variable* parameter;
    Variable value;
  };
  struct Rounded : Master {
    FixedPointFormat format;
    int64_t number;  // of the parameter, the key of its draws
  };
  struct Masked : Master {
    Tensor mask;
  };
  /// A hashed parameter and 1 / the number of virtual weights of each bucket, 0 for none.
  struct Averaged {
    Variable* parameter;
    Tensor share;
  };
  /// The weights of one shared parameter by their value: group[i] of weight i, -1 for one that stays zero.
  struct Groups {
    Variable* parameter;
    std::vector<int32_t> group;
    size_t count = 0;
  };
  void add_masters(Model& model);
  void add_groups(Model& model);
  void add_averages(Model& model);
  Variable& trained_of(const Parameter& p);
  std::vector<Master*> masters();

  ConstraintOptions options_;
  std::vector<Parameter> parameters_;
  std::vector<Parameter> pruned_;  // as trained
  std::vector<Groups> shared_;
  std::vector<Rounded> rounded_;
  std::vector<Masked> masked_;
  std::vector<Averaged> averaged_;
};

/// Rounds every parameter that `model.coding` says is of a fixed-point format. -0 becomes 0. `seed` is of
/// stochastic rounding, for which the model must be on the CPU.
void round_parameters(Model& model, Rounding rounding = Rounding::nearest, uint64_t seed = 0);

}  // namespace hashgrad
