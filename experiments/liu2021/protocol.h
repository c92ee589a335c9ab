// What each scale of the study spends. Where the paper is silent (training, eps, budgets of the attacks) the
// choice stands here, and in the report.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "experiments/study/paper.h"

namespace hashgrad::liu2021 {

/// An attack with what a row costs, in forward passes of one image.
struct Priced {
  std::string attack;
  double passes;
};

/// Numbers of images, unless stated otherwise.
struct Protocol {
  std::string data, network, substitute;
  int64_t train_images, test_images;
  double lr;                                  ///< Adam's, cosine schedule, all trainings; batch 128
  int64_t epochs;                             ///< of the original network
  int64_t hash_epochs;                        ///< of retraining behind the hash layers (B10: 2 to 3)
  int64_t prune_epochs;                       ///< of retraining the pruned network
  int64_t accuracy;                           ///< B-T1
  int64_t untargeted;                         ///< FGSM, BIM, MIM (B8: all)
  int64_t bpda, deepfool;                     ///< (B8: 1000)
  int64_t targeted;                           ///< classified rightly, each aimed at nine classes (B8: 100)
  int64_t gradients;                          ///< zero gradients, B-F2
  int64_t eot;                                ///< attacked over 20 draws
  int64_t queries, queries_targeted;          ///< ZOO; the latter times nine classes
  int64_t seeds, rounds;                      ///< of the substitutes
  int64_t search_stride;                      ///< 2: every second rate of the grid, in both directions
  int64_t search_images, search_epochs;       ///< each of the trainings of algorithm 1
  int64_t search_tested, search_estimated;    ///< accuracy, and g and phi of each
  int64_t pgd_images, pgd_epochs, pgd_steps;  ///< adversarial training (B-F3, B-F4)
  Priced cw, ead, strong_cw, zoo;
};

constexpr double eps = 0.3;          ///< linf budget, pixels; the paper gives none (CleverHans's default)
constexpr int64_t eot_draws = 20;    ///< of a randomised network while it is attacked adaptively
constexpr int64_t judge_draws = 20;  ///< that vote on its answer
constexpr int64_t train_batch = 128;

Protocol protocol_of(study::Scale scale);
/// For the report: what was chosen, by name.
std::vector<std::pair<std::string, std::string>> described(const Protocol& protocol);

}  // namespace hashgrad::liu2021
