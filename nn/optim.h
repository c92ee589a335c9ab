// Optimisers: SGD with momentum, Adam, RMSProp, with the conventions (and default values) of PyTorch.
#pragma once

#include <string>
#include <vector>

#include "core/archive.h"
#include "cpu/optim.h"
#include "nn/module.h"

namespace hashgrad {

struct OptimizerOptions {
  enum class Kind { sgd, adam, rmsprop };

  Kind kind = Kind::sgd;
  double momentum = 0.9;    ///< sgd, rmsprop (where parse_optimizer takes 0 unless told); in [0, 1)
  bool nesterov = false;    ///< sgd; needs momentum
  double weight_decay = 0;  ///< times the parameter, added to its gradient
  /// Only weights decay: neither biases nor the scales of normalisations.
  bool weights_only = false;
  double beta1 = 0.9;    ///< adam
  double beta2 = 0.999;  ///< adam
  double alpha = 0.99;   ///< rmsprop: decay of the squared gradient's average
  double eps = 1e-8;     ///< adam, rmsprop
};

/// Reads a name with optional settings, "sgd", "sgd:momentum=0.9,nesterov,weight_decay=5e-4",
/// "adam:beta1=0.5", "rmsprop:alpha=0.9,eps=1".
OptimizerOptions parse_optimizer(const std::string& text);
/// All settings that matter for the kind, in the words of parse_optimizer.
std::string to_string(const OptimizerOptions& options);

/// Updates parameters in place from their gradients.
class Optimizer {
 public:
  /// Keeps the pointers: the model must outlive the optimiser, and stay on its device.
  Optimizer(std::vector<Parameter> parameters, const OptimizerOptions& options);

  /// One update at this learning rate; `hashed_lr` multiplies it for bucket values. Parameters without a
  /// gradient stay as they are.
  void step(double lr, double hashed_lr = 1) { update(pace(lr).to(device_), hashed_lr); }

  // Its two halves. The first one counts; the second one has nothing that changes from update to update but
  // what it reads from memory, so that a device can record it once.
  /// What makes the next update differ from others, cpu::Pace, as a tensor on the CPU; each call begins an
  /// update.
  Tensor pace(double lr);
  /// The update, with its pace on the parameters' device.
  void update(const Tensor& pace, double hashed_lr = 1);

  /// Writes and reads the state as tensors named "optimizer.<slot>.<parameter>"; `name` opens error messages.
  void save(Archive& archive) const;
  void load(const Archive& archive, const std::string& name);

 private:
  struct Slot {
    std::string name;
    std::vector<Tensor> tensors;  // one per parameter
  };
  /// All parameters of one element type at once: on a GPU a single launch.
  template <class T>
  void update_all(const cpu::Pace* pace, double hashed_lr);

  std::vector<Parameter> parameters_;
  OptimizerOptions options_;
  Device device_;  // of the model and of the slots
  std::vector<Slot> slots_;
  int64_t steps_ = 0;
};

}  // namespace hashgrad
