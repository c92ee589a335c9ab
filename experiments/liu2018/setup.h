// What Liu et al., "Security analysis and enhancement of model compressed deep learning systems under
// adversarial attacks", ASP-DAC 2018, measure, as settings: which networks, how they are trained, attacked
// and defended; and at three scales of cost. Where the paper is silent (training, eps on CIFAR-10, number of
// images, the layers that inhibition changes) the choice stands here, and in the report.
#pragma once

#include <string>
#include <vector>

#include "experiments/study/paper.h"
#include "nn/init.h"

namespace hashgrad::liu2018 {

/// One network of the study.
struct Subject {
  std::string name;      ///< in tables, and its label in the study
  std::string network;   ///< spec or name of the zoo
  double rate = 0;       ///< at which every layer is hashed (A-E3); 0: not compressed
  double hashed_lr = 1;  ///< factor on the learning rate of bucket values

  /// Its layers, the hashed ones with their rate.
  Spec spec() const;
};

struct Training {
  int64_t images;  ///< the first so many of the training split
  int64_t epochs, batch;
  double lr;
  std::string optimizer, schedule;
  std::string augmentation = "none";
  Init init = Init::pytorch;
};

/// Gradient inhibition (A-E12): strength, and the layers that it changes (select_layers).
struct Inhibition {
  double tau = 0;
  std::string layers{};

  bool none() const { return tau == 0; }
  /// For tables: where it is; "-" for none.
  std::string where() const { return none() ? "-" : layers; }
};

/// The part of the study that is about one set of data.
struct Setup {
  std::string data;
  std::vector<Subject> subjects;    ///< the uncompressed network first, the most compressed one last
  Training training;                ///< of each of them, from scratch
  std::vector<double> eps;          ///< of HFGSM, ascending, pixels of [0,1]
  std::vector<double> elements{};   ///< of HJSMA, ascending, pixels set to 1
  std::vector<double> taus;         ///< of inhibition, ascending from 0
  std::vector<std::string> layers;  ///< of inhibition: what the paper's words say, then what else was tried
  int64_t tested;                   ///< first N test images for the accuracy
  int64_t attacked = 0;             ///< first N for HFGSM and HJSMA without inhibition (A-F4, A-F5)
  int64_t inhibited;                ///< first N for gradients, and for HFGSM under inhibition

  /// None, then for each choice of layers all strengths, ascending.
  std::vector<Inhibition> inhibitions() const;
  /// The strongest inhibition of these layers.
  Inhibition strongest(const std::string& where) const { return {taus.back(), where}; }
};

/// A2 and its HashNets (A3) on MNIST.
Setup mnist_setup(study::Scale scale);
/// The four networks of Table I (A4) on CIFAR-10.
Setup cifar_setup(study::Scale scale);

/// For the report: what was chosen, by name; the names open with `of`, if that is not empty.
std::vector<std::pair<std::string, std::string>> described(const Setup& setup, const std::string& of);

}  // namespace hashgrad::liu2018
