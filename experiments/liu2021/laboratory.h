// The study at work: its networks, its images, and the cells that are measured on them.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "attacks/attack.h"
#include "compression/rate_search.h"
#include "datasets/split.h"
#include "defenses/adversarial_training.h"
#include "experiments/liu2021/protocol.h"

namespace hashgrad::liu2021 {

/// One attack as it is tried on a network.
struct Attempt {
  std::string attack;  ///< for make_attack
  int64_t images = 0;
  double passes = 0;         ///< of one row, forward and backward, for the estimate of its cost
  bool targeted = false;     ///< at every other class, of images that are classified rightly
  std::string crafted_on{};  ///< network that the images are made on; empty: the one attacked
  int64_t draws = 1;         ///< followed while crafting on a randomised network
  bool stand_ins = false;    ///< differentiate past input transforms (BPDA)
  double lead = 0;           ///< C&W: kappa is this share of the median lead of the right class
  int64_t skip = 0;          ///< images left out at the beginning
};

class Laboratory {
 public:
  explicit Laboratory(const study::PaperFlags& flags);
  Laboratory(const Laboratory&) = delete;  // its cells hold on to it
  Laboratory& operator=(const Laboratory&) = delete;

  const Protocol protocol;
  study::Study cells;

  /// Success of an attempt on a network: values success, wrong, zero_gradient (shares), median_l2,
  /// relative_l2 (mean of ||x' - x|| / ||x|| over the successes). As Study::ask.
  const study::Json* attack(const std::string& network, const Attempt& attempt);
  /// Share of test images classified rightly: accuracy.
  const study::Json* accuracy(const std::string& network);
  /// Images whose cross-entropy gradient is exactly zero: float32, float64.
  const study::Json* zero_gradients(const std::string& network);
  /// Mean |derivative| of loss, probabilities and logits, images by decade: loss, probs, logits.
  const study::Json* gradients(const std::string& network);
  /// A hash classifier at these rates, trained as the search trains: accuracy, g, phi.
  const study::Json* search_point(double first, double second);
  /// The rates of the paper's rule, and the weights of the two layers that they are for.
  RatePair hash_rule() const { return rate_rule(weights_first_, inputs_second_); }
  int64_t weights_first() const { return weights_first_; }
  int64_t weights_second() const { return weights_second_; }
  /// What this machine does, for the estimate of the time it takes.
  double flops_per_second() const;

 private:
  void declare_networks();
  void declare_original();
  void declare_hash();
  Model hashed(const RatePair& rates);
  void declare_inhibited(const std::string& from);
  void declare_compressed();
  void declare_transformed();
  void declare_adversarial();
  void declare_substitute(const std::string& victim);

  /// A cell without its measurement; `passes`: its cost in forward passes of one image.
  study::Cell new_cell(const std::string& what, const std::string& network, study::Json settings,
                       double passes) const;
  study::Json measure_attack(const std::string& network, const Attempt& attempt);
  AttackInput input_of(const std::string& network, const Attempt& attempt);
  study::Json count(const std::string& network, const Attempt& attempt, const AttackInput& input,
                    const AttackResult& result, const std::vector<bool>& reached);
  std::string with_kappa(const Model& model, const Attempt& attempt, const AttackInput& input) const;
  study::Json measure_gradients(const std::string& network);
  study::Json measure_search_point(double first, double second);

  const Dataset& train_set();
  const Dataset& test_set();
  /// A network in the element type and on the device of the flags.
  const Model& model(const std::string& label);
  /// What the network answers for the first n test images (and perhaps more): the vote of a randomised one.
  const std::vector<int64_t>& answers(const std::string& label, int64_t n);
  /// Numbers of the first n test images from `skip` on that the network classifies rightly.
  std::vector<int64_t> first_right(const std::string& label, int64_t n, int64_t skip);
  OracleOptions asked(int64_t draws, bool stand_ins = false) const;
  /// Trains on the CPU or the device of the flags; `checkpoint` as resume_training(), empty: none.
  /// With an attack, on images that it makes (adversarial training).
  Model trained(Model model, int64_t images, int64_t epochs, const std::string& checkpoint,
                const AdversarialTraining* attack = nullptr);

  study::PaperFlags flags_;
  Spec spec_;
  double flops_;  // of one forward pass of one image
  int64_t weights_first_ = 0, weights_second_ = 0, inputs_second_ = 0;
  std::optional<Dataset> train_, test_;
  std::map<std::string, Model> models_;
  std::map<std::string, std::vector<int64_t>> answers_;
};

}  // namespace hashgrad::liu2021
