// What the verb `defend` is told, and the defences that are trainings.
#pragma once

#include <string>

#include "experiments/cli/hashing.h"
#include "experiments/cli/options.h"
#include "experiments/cli/training.h"

namespace hashgrad::cli {

struct DefendVerb {
  CommonFlags common;
  DataFlags data{.split = "train"};
  TrainingFlags training;
  std::string method, model, output, layers = "last:1", draws = "forward", adversary = "pgd";
  std::string rate;  // empty: what the method has by itself
  HashFlags hash;
  double eps = 0, step = -1, temperature = 100;  // a step below 0: what the method has by itself
  int64_t last = 0, iters = 0, replays = 0;
  int64_t watch = -1;  // below 0: 200, or none where the data have no test images
  int64_t bits = 1, size = 2, quality = 75;
};

/// The model of the file MODEL, or a new one of that spec.
Model start_of(const DefendVerb& v);
/// Defensive distillation: teacher and student, each trained with the flags of the command.
void distil(Model& model, const DefendVerb& v);
/// The hash classifier in place of the last two layers, and a training of the whole network.
void install_hash_classifier(Model& model, const DefendVerb& v);
/// Adversarial training; prints after every epoch what the robust accuracy comes to.
void train_against_attacks(Model& model, const DefendVerb& v);

}  // namespace hashgrad::cli
