// What the study does on each data set, and what each scale of it spends. Where the paper is silent
// (training, eps, budgets of the attacks) the choice stands here, and in the report.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "experiments/liu2021/paper_numbers.h"
#include "experiments/study/paper.h"

namespace hashgrad::liu2021 {

/// An attack with what a row costs, in forward passes of one image.
struct Priced {
  std::string attack;
  double passes;
};

/// What a targeted attack aims at: every class but the label in turn, or the class behind it.
enum class Targets { all, next };

/// Everything about the networks of one architecture on one data set. Numbers of images, unless stated
/// otherwise.
struct Protocol {
  const PaperNumbers* paper;
  std::string title;    ///< of the data, for headings
  std::string label{};  ///< in front of the names of its networks: "ResNet-34 "
  std::string data, network;
  std::string hashed{};  ///< network with hashed layers in the place of its output layer; empty: the last two
                         ///< layers are hashed at the rates of the paper's rule
  std::string substitute;
  int64_t size = 0;  ///< height and width that images of a folder are scaled to; 0: as they are
  int64_t train_images, test_images;
  std::string init = "pytorch";                    ///< law of the initial values
  std::string augmentation = "none";               ///< of all trainings
  double lr;                                       ///< Adam's, cosine schedule, all trainings; batch 128
  int64_t epochs;                                  ///< of the original network
  int64_t hash_epochs;                             ///< of retraining behind the hash layers (B10: 2 to 3)
  int64_t prune_epochs;                            ///< of retraining the pruned network
  double gi1, gi2, gi3;                            ///< strength of gradient inhibition
  bool gi_convolution = true;                      ///< see inhibited_layers()
  double eps, bim_step, mim_step, pgd_step;        ///< linf, pixels; the paper gives none
  std::vector<double> eps_swept;                   ///< FGSM on the original network, to find the paper's eps
  int64_t bit_depth;                               ///< of B-T4, in bits
  Targets targets = Targets::all;                  ///< of C&W, EAD, JSMA (B8)
  bool jsma = true;                                ///< among the attacks of B-T2
  int64_t accuracy;                                ///< B-T1
  int64_t untargeted;                              ///< FGSM, BIM, MIM (B8: all)
  int64_t bpda, deepfool;                          ///< (B8: 1000)
  int64_t targeted;                                ///< classified rightly, each aimed at `targets` (B8: 100)
  int64_t gradients;                               ///< zero gradients, B-F2
  int64_t eot;                                     ///< attacked over 20 draws
  int64_t queries, queries_targeted;               ///< ZOO; the latter times nine classes
  int64_t seeds, rounds;                           ///< of the substitutes
  int64_t search_stride;                           ///< 2: every second rate of the grid, in both directions
  int64_t search_images, search_epochs;            ///< each of the trainings of algorithm 1
  int64_t search_tested, search_estimated;         ///< accuracy, and g and phi of each
  int64_t pgd_images, pgd_epochs, pgd_steps;       ///< adversarial training (B-F3, B-F4)
  int64_t surface_points = 0, surface_epochs = 0;  ///< training of the networks of B-F1
  Priced cw, ead, strong_cw, zoo;
  std::vector<Protocol> residual{};  ///< those of B-T5 and B-T6
};

constexpr int64_t eot_draws = 20;    ///< of a randomised network while it is attacked adaptively
constexpr int64_t judge_draws = 20;  ///< that vote on its answer
constexpr int64_t train_batch = 128;

/// mnist, cifar10, imagenet50.
const std::vector<std::string>& data_names();
/// Of one of them.
Protocol protocol_of(const std::string& data, study::Scale scale);
/// Whether gradient inhibition changes a convolution where it has too few fully connected layers.
void set_gi_convolution(Protocol& protocol, bool convolution);
/// For the report: what was chosen, by name.
std::vector<std::pair<std::string, std::string>> described(const Protocol& protocol);

}  // namespace hashgrad::liu2021
