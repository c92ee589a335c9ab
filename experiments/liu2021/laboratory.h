// The networks of one architecture at work: the networks, their images, and the cells that are measured on
// them. A study has one laboratory, and one for each of its residual networks.
#pragma once

#include <functional>
#include <map>
#include <memory>
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
  bool targeted = false;     ///< at the protocol's targets, of images that are classified rightly
  std::string crafted_on{};  ///< network that the images are made on; empty: the one attacked
  int64_t draws = 1;         ///< followed while crafting on a randomised network
  bool stand_ins = false;    ///< differentiate past input transforms (BPDA)
  double lead = 0;           ///< C&W: kappa is this share of the median lead of the right class, if it leads
  int64_t skip = 0;          ///< images left out at the beginning
};

/// Networks go by their own names here ("original"); in the study they stand behind the protocol's label.
class Laboratory {
 public:
  Laboratory(const study::PaperFlags& given, Protocol its_protocol, study::Study& study);
  Laboratory(const Laboratory&) = delete;  // its cells hold on to it
  Laboratory& operator=(const Laboratory&) = delete;

  const Protocol protocol;
  const study::PaperFlags flags;
  study::Study& cells;
  /// Those of the protocol's residual networks.
  const std::vector<std::unique_ptr<Laboratory>>& residual() const { return residual_; }

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
  /// How many targets each image of this attack has, one after the other.
  int64_t rows_per_image(const Attempt& attempt) const;
  /// "98.77 [98.5, 99.0]" of what attack() gave for this attempt, or "not run". The rows of an image count as
  /// one observation of the interval.
  std::string shown_success(const Attempt& attempt, const study::Json* values) const;
  /// Whether the network draws random numbers at every answer.
  bool answers_by_draw(const std::string& network) const;
  /// The rates of the hash classifier's two layers: those of the paper's rule, or of the protocol's network.
  RatePair hash_rates() const { return rates_; }
  /// Weights of the last two layers of the original network.
  int64_t weights_first() const { return weights_first_; }
  int64_t weights_second() const { return weights_second_; }
  /// The layers that gradient inhibition changes, by their tokens.
  std::string inhibited(const std::string& network) const;
  /// What this machine does, for the estimate of the time it takes.
  double flops_per_second() const;

 private:
  using Make = std::function<Model(const std::string& checkpoint)>;

  void declare_networks();
  void declare_original();
  void declare_hash();
  Model hashed(const RatePair& rates);
  Model grown();
  void declare_inhibited(const std::string& from);
  void declare_compressed();
  void declare_transformed();
  void declare_adversarial();
  void declare_substitute(const std::string& victim);
  /// A network of the study, made from `from` (empty: from nothing), with its settings but for the seed.
  void declare(const std::string& network, const std::string& from, study::Json settings, double flops,
               Make make);

  std::string in_study(const std::string& network) const { return protocol.label + network; }
  const study::Json& settings_of(const std::string& network) const;
  const Model& made(const std::string& network);
  const Spec& spec_behind(const std::string& network) const;

  /// A cell without its measurement; `passes`: its cost in forward passes of one image.
  study::Cell new_cell(const std::string& what, const std::string& network, study::Json settings,
                       double passes) const;
  study::Json measure_attack(const std::string& network, const Attempt& attempt);
  /// Numbers of the test images that are attacked, which may be none.
  std::vector<int64_t> rows_of(const std::string& network, const Attempt& attempt);
  AttackInput input_of(const std::string& network, const Attempt& attempt);
  AttackInput aimed(const AttackInput& input) const;
  study::Json count(const std::string& network, const Attempt& attempt, const AttackInput& input,
                    const AttackResult& result, const std::vector<bool>& reached);
  std::string with_kappa(const Model& model, const Attempt& attempt, const AttackInput& input) const;
  study::Json measure_gradients(const std::string& network);
  study::Json measure_search_point(double first, double second);

  const Dataset& train_set();
  const Dataset& test_set();
  /// A network in the element type and on the device of the flags.
  const Model& model(const std::string& network);
  /// What the network answers for the first n test images (and perhaps more): the vote of a randomised one.
  const std::vector<int64_t>& answers(const std::string& network, int64_t n);
  /// Numbers of the first n test images from `skip` on that the network classifies rightly; fewer where
  /// there are no more.
  std::vector<int64_t> first_right(const std::string& network, int64_t n, int64_t skip);
  OracleOptions asked(int64_t draws, bool stand_ins = false) const;
  /// Trains on the CPU or the device of the flags; `checkpoint` as resume_training(), empty: none.
  /// With an attack, on images that it makes (adversarial training).
  Model trained(Model model, int64_t images, int64_t epochs, const std::string& checkpoint,
                const AdversarialTraining* attack = nullptr);

  Spec spec_, hashed_spec_;
  double flops_;  // of one forward pass of one image
  int64_t classes_;
  int64_t weights_first_ = 0, weights_second_ = 0;
  RatePair rates_;
  std::optional<Dataset> train_, test_;
  std::map<std::string, Model> models_;
  std::map<std::string, std::vector<int64_t>> answers_;
  std::vector<std::unique_ptr<Laboratory>> residual_;
};

}  // namespace hashgrad::liu2021
