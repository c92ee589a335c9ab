// The measurements as cells: who is attacked, by what, with whose gradients.
#pragma once

#include <map>
#include <string>

#include "attacks/attack.h"
#include "datasets/dataset.h"
#include "experiments/study/outcomes.h"
#include "experiments/zhao2019/setup.h"

namespace hashgrad::zhao2019 {

/// Accuracies of one network, and of the dense one, under one attack; nothing where a cell is missing.
struct Scenarios {
  std::optional<Rate> clean;       ///< without attack: BASE ACC
  std::optional<Rate> own;         ///< 1: COMP -> COMP
  std::optional<Rate> from_dense;  ///< 2: FULL -> COMP
  std::optional<Rate> on_dense;    ///< 3: COMP -> FULL
};

/// What all cells share. Must outlive the study's run; cells hold pointers to it.
class Experiment {
 public:
  /// Loads the data, and declares all networks of the setup. Error: data that do not fit the network.
  Experiment(Setup setup, const study::PaperFlags& flags, study::Study& study);
  Experiment(const Experiment&) = delete;
  Experiment& operator=(const Experiment&) = delete;

  const Setup& setup() const { return setup_; }
  const Spec& spec() const { return spec_; }
  int64_t classes() const { return test_.classes; }

  // Cells, asked for: declared before the study runs, their values after it, nullptr for one that was not
  // run. n: the first so many test images.
  /// "own": where the network is right without attack.
  const study::Json* clean(const Variant& variant, int64_t n);
  /// Crafted on the network: "own" and "dense", where it and the dense network are right (scenarios 1 and 3);
  /// "amplitude" and "changed", the mean size of the change of a pixel and the mean share of pixels that
  /// change.
  const study::Json* crafted_on(const Variant& variant, const Search& attack, int64_t n);
  /// Crafted on the dense network: "own", where this one is right (scenario 2).
  const study::Json* crafted_on_dense(const Variant& variant, const Search& attack);
  /// Against the network: "own", and "median_l2" of the images that the attack makes it get wrong.
  const study::Json* stronger(const Variant& variant, const Search& attack);
  /// "zero": where the gradient of the cross-entropy is exactly zero, in the element type of --dtype.
  const study::Json* gradients(const Variant& variant);
  /// "weights" and "activations", how they are distributed (distributions.h), activations over ten images
  /// drawn by the seed from those of the test split that the study loads.
  const study::Json* distributions(const Variant& variant);
  /// A point of figure 2 or 4.
  Scenarios scenarios(const Variant& variant, const Search& attack);
  /// Right without attack and under each of the stronger attacks.
  std::optional<Rate> worst_case(const Variant& variant, double radius);

 private:
  void declare_networks();
  study::Cell cell(const std::string& what, const Variant& variant, int64_t n, const char* success) const;
  study::Cell attack_cell(const std::string& what, const Variant& variant, const Search& attack,
                          int64_t n) const;
  Model network(const Variant& variant);
  Model pruned(double density, const std::string& checkpoint);
  Model quantised(int width, const std::string& checkpoint);
  TrainOptions options_of(const Training& training) const;
  Model trained(const Model& start, int64_t images, const TrainOptions& options,
                const std::string& checkpoint) const;
  AttackResult attacked(const Model& model, const Search& attack, const AttackInput& input) const;
  AttackInput input(int64_t n) const;
  const Tensor& images_from_dense(const Search& attack);

  Setup setup_;
  const study::PaperFlags& flags_;
  study::Study& study_;
  Spec spec_;
  Dataset train_, test_;
  std::map<std::string, Tensor> from_dense_;  // x_adv by spec: every network is asked about the same images
};

}  // namespace hashgrad::zhao2019
