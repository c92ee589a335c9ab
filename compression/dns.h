// Dynamic network surgery (Guo, Yao, Chen, NIPS 2016): pruning that may change its mind while the network
// trains.
#pragma once

#include <cstdint>
#include <string>

#include "nn/model.h"
#include "nn/train.h"

namespace hashgrad {

/// Each layer has a threshold t = max(mu + c sigma, 0), where mu and sigma are the mean and the standard
/// deviation of |w| over its weights. When masks change, a kept weight is pruned if |w| <= 0.9 t, and a
/// pruned one is spliced back if |w| > 1.1 t (C-E3 with alpha = 0.9 t, beta = 1.1 t). At first all are kept.
struct NetworkSurgery {
  enum class Rule {
    c_rate,  ///< value is c, the same for all layers; how many weights that leaves, now and later, is open
    density  ///< whenever masks change, c is chosen so that of n weights round(value * n) are kept, in (0, 1]
  };
  Rule rule = Rule::density;
  double value = 0.1;
  bool global = false;         ///< density alone: one c, and the density of all layers together; else of each
  std::string layers = "all";  // or "last:k", of the fully connected and convolution layers

  /// The gradient with respect to a masked weight goes to the full weight even where the mask is 0 (Guo), or
  /// only where it is 1 (Mayo: a pruned weight then moves by weight decay and what momentum it had).
  bool pruned_learn = true;
  /// mu and sigma of the weights that training starts from (Guo), or of the full weights at each change of
  /// masks (Mayo).
  bool statistics_once = true;

  /// When masks change: in front of update number i (from 0) with probability (1 + gamma i)^-power, drawn
  /// once for all layers; or, `by_epoch`, in front of the first update of every epoch. Never from update
  /// `stop` on.
  bool by_epoch = false;
  double gamma = 1e-4, power = 1;
  int64_t stop = -1;  ///< below 0: three quarters of all updates
};

/// The model with its masks set once and no training, as a run would first set them. Errors: values out of
/// range; layers that are pruned, shared or in fixed point already; weights all of one magnitude; a layer
/// that would keep no weight; a density that equal weights keep from being met within 0.001 of all.
Model compress_surgically(const Model& model, const NetworkSurgery& options);

/// For a training of `model`: says in model.coding which layers are pruned, and makes `training` operate on
/// them; the weights stay until it begins. The same errors. Random draws are keyed by (training.seed,
/// update). A resumed run ends in the same bits. With Rule::density the density holds after every change of
/// masks, and masks alone decide which weights are zero, so it holds at the end. On the CPU; the model may be
/// moved to a device afterwards.
void prepare_surgery(Model& model, const NetworkSurgery& options, TrainOptions& training);

}  // namespace hashgrad
