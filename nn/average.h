// The moving average of the weights of a training (Polyak and Juditsky 1992): what a training ends with
// instead of its last weights.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/archive.h"
#include "nn/module.h"

namespace hashgrad {

/// s = decay s + (1 - decay) w after every update, from s = 0; the average is s / (1 - decay^updates), so
/// that the weights from which training started have no part in it. The sums are float64: in float32 the
/// roundings of many updates add up, at a decay of 0.99999 to 1e-3 of the average.
class WeightAverage {
 public:
  /// decay in (0, 1). Keeps the pointers: the parameters must outlive the average, and stay on their device.
  WeightAverage(std::vector<Parameter> parameters, double decay);

  /// After an update. Issues work and waits for nothing, so on a device a recording holds it.
  void update();
  /// Puts the average of this many updates, at least one, in the place of the weights.
  void lend(int64_t updates);
  /// Brings the weights back.
  void take_back();

  /// The sums, as tensors "train.average.<parameter>"; `name` opens error messages. Sums of float32, which
  /// older versions wrote, are taken over.
  void save(Archive& archive) const;
  void load(const Archive& archive, const std::string& name);

 private:
  std::vector<Parameter> parameters_;
  std::vector<Tensor> sums_;  // float64, one per parameter
  std::vector<Tensor> lent_;  // the same of the weights, between lend() and take_back()
  double decay_;
};

}  // namespace hashgrad
