// The measurements as cells: whose images, shown to whom.
#pragma once

#include "attacks/attack.h"
#include "datasets/dataset.h"
#include "experiments/study/outcomes.h"
#include "experiments/wang2018/setup.h"

namespace hashgrad::wang2018 {

/// From this lead of the label on, in logits, exp(-lead) is below the smallest normal float32, which
/// arithmetic that flushes denormals takes for zero; from the second on it is zero in float32.
constexpr double lead_of_smallest_normal = 87.34, lead_of_zero = 103.97;

/// What all cells share. Must outlive the study's run; cells hold pointers to it.
class Experiment {
 public:
  /// Loads the data, and declares M0 and M1; M2 is M1 with larger logits, made when it is needed. Error: data
  /// that do not fit the network.
  Experiment(Setup setup, const study::PaperFlags& flags, study::Study& study);
  Experiment(const Experiment&) = delete;
  Experiment& operator=(const Experiment&) = delete;

  const Setup& setup() const { return setup_; }
  const Spec& spec() const { return spec_; }

  // Cells, asked for: declared before the study runs, their values after it, nullptr for one that was not
  // run. Networks are "M0", "M1" and "M2", or as the setup names them.
  /// "right": the network's answer is the label, of the attack's images (or pairs of image and target).
  const study::Json* clean(const std::string& network, const Search& attack);
  /// Crafted on `source`: by network where the goal is reached on it; "median_l2" of the
  /// successes on the source.
  const study::Json* crafted_on(const std::string& source, const Search& attack);
  /// Gradients of the cross-entropy and lead of the label over the runner-up, in logits, for M1 under logits
  /// augmentation of this strength: "zero" and "zero64", where the gradient is exactly zero in float32 and
  /// float64; "beyond_ftz" and "beyond", where the label leads by more than the two above; "median_lead".
  const study::Json* gradients(double eps);
  /// The same of M0.
  const study::Json* plain_gradients();
  /// Crafted on and shown to M1 under augmentation of this strength: "right" without attack, "reached".
  const study::Json* augmented(double eps, const Search& attack);
  /// "weights" and "kept", those that are not zero, of M1.
  const study::Json* size();

  /// Successes on `network`, of its right answers, of images crafted on `source`.
  std::optional<Rate> success(const std::string& source, const std::string& network, const Search& attack);

 private:
  void declare_networks();
  study::Cell cell(const std::string& what, const std::string& network, int64_t n, const char* success) const;
  study::Cell attack_cell(const std::string& what, const std::string& network, const Search& attack) const;
  const study::Json* gradients_of(const std::string& name, double eps);
  Model network(const std::string& name);
  Model augmented_network(double eps);
  Model plain(const std::string& checkpoint);
  Model pruned(const std::string& checkpoint);
  Model trained(const Model& start, const Training& training, uint64_t seed,
                const std::string& checkpoint) const;
  AttackResult attacked(const Model& model, const Search& attack, const AttackInput& input) const;
  AttackInput input(const Search& attack) const;

  Setup setup_;
  const study::PaperFlags& flags_;
  study::Study& study_;
  Spec spec_;
  std::string m0_, m1_, m2_;  // their names
  Dataset train_, test_;
};

}  // namespace hashgrad::wang2018
