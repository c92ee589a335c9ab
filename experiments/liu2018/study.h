// The measurements of Liu et al., "Security analysis and enhancement of model compressed deep learning
// systems under adversarial attacks", ASP-DAC 2018: HFGSM and HJSMA by the paper's attack method on a network
// and its HashNets, and gradient inhibition, beside the checks that tell a defence from a hidden gradient.
#pragma once

#include <string>
#include <vector>

#include "attacks/grow.h"
#include "attacks/statistics.h"
#include "datasets/dataset.h"
#include "nn/model.h"

namespace hashgrad::liu2018 {

/// The A2 network (784-C64-C128-F512-10) as a spec, all layers hashed when `rate` is given ("1/8").
std::string network_spec(const std::string& rate = "");
/// "uncompressed", or "HashNet(1/8)" from the rate of the last layer.
std::string network_name(const Model& model);

struct StudyOptions {
  std::vector<double> eps{0.1, 0.2, 0.3, 0.4, 0.5};                            ///< HFGSM, in pixels of [0,1]
  std::vector<double> elements{1, 2, 5, 10, 15, 20, 30, 40, 50, 60, 80, 100};  ///< HJSMA, pixels set to 1
  std::vector<double> taus{0, 0.01, 0.02, 0.05, 0.1};  ///< strengths of gradient inhibition
  std::string layers = "last:1";                       ///< where it is applied (select_layers)
  int64_t attacked = 10000;                            ///< first N test images for A-F4 and A-F5
  int64_t inhibited = 10000;                           ///< first N test images for A-F10a, A-F7 and A-F9
  int64_t batch = 128;
  bool quiet = false;
};

/// One network under gradient inhibition of one strength (A-E12), attacked by HFGSM with eps grown to the
/// largest. Success: the prediction differs from the clean prediction at this or a smaller eps (A-ALG1).
struct Inhibition {
  double tau = 0;
  Rate accuracy;                ///< of the inhibited network on clean images
  Rate success;                 ///< gradient of the float32 cross-entropy, as in the paper
  Rate exact_success;           ///< the same attack along the exact cross-entropy direction
  Rate zero_gradients;          ///< images whose cross-entropy gradient is exactly zero
  GradientHistogram gradients;  ///< of the cross-entropy for the predicted class
};

struct NetworkResult {
  std::string name;
  int64_t parameters = 0;
  Rate accuracy;  ///< on the whole test set given
  double loss = 0;
  Growth hfgsm, hjsma;
  std::vector<Inhibition> inhibition;
};

/// Measures one network on labelled test images; draws a progress bar unless quiet. The model is not changed.
NetworkResult measure(const Model& model, const Dataset& test, const StudyOptions& options);

/// Three rows of pictures of the first images: originals, what an attack added, the result.
struct Gallery {
  std::string name;  ///< stem of the file
  std::string caption;
  std::string png;
};
std::vector<Gallery> galleries(const Model& model, const Dataset& test, const StudyOptions& options);

}  // namespace hashgrad::liu2018
