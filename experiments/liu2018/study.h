// The measurements as cells: which network, under which inhibition, attacked how.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "attacks/grow.h"
#include "attacks/statistics.h"
#include "datasets/dataset.h"
#include "experiments/liu2018/setup.h"
#include "experiments/liu2018/weights.h"
#include "experiments/study/cells.h"

namespace hashgrad::liu2018 {

/// How success is counted everywhere in the study, in one sentence.
extern const char* const success_definition;

/// HFGSM by the paper's attack method (A-ALG1), eps by eps.
struct Attacked {
  std::vector<Rate> grown;  ///< changed at this or a smaller eps: what the paper counts
  std::vector<Rate> fixed;  ///< changed at exactly this eps
  Rate zero;                ///< images whose gradient is exactly 0, so that nothing moves

  /// Success with eps grown to the largest.
  Rate success() const { return grown.back(); }
};

/// Three rows of pictures: the first images of the test split, what an attack added, the result.
struct Gallery {
  std::string name;     ///< stem of the file
  std::string caption;  ///< what it shows
  Inhibition inhibition{};
  std::string loss{};  ///< HFGSM along this gradient; empty: HJSMA, on the probabilities
  double budget;       ///< eps, or the number of elements
};

/// What all cells about one set of data share. Must outlive the study's run; cells hold pointers to it.
class Experiment {
 public:
  /// Loads the data, and declares the networks of the setup.
  Experiment(Setup setup, const study::StudyFlags& flags, study::Study& study);
  Experiment(const Experiment&) = delete;
  Experiment& operator=(const Experiment&) = delete;

  const Setup& setup() const { return setup_; }

  // Cells, asked for: declared before the study runs, their values after it, nothing for one that was not
  // run. n: the first so many test images.
  /// Right answers.
  std::optional<Rate> accuracy(const Subject& subject, const Inhibition& inhibition, int64_t n);
  /// `loss`: "ce" as in the paper, or "ce-exact", whose direction does not underflow.
  std::optional<Attacked> hfgsm(const Subject& subject, const Inhibition& inhibition, const std::string& loss,
                                int64_t n);
  /// Of setup().attacked images, changed with this or a smaller number of elements. The target is the
  /// runner-up.
  std::optional<std::vector<Rate>> hjsma(const Subject& subject);
  /// Mean |input gradient| of the cross-entropy for the network's own answer, image by image.
  std::optional<GradientHistogram> gradients(const Subject& subject, const Inhibition& inhibition);
  std::optional<WeightHistogram> weights(const Subject& subject);
  /// The bytes of a PNG.
  std::optional<std::string> picture(const Subject& subject, const Gallery& gallery);

 private:
  void declare(const Subject& subject);
  Model trained(const Subject& subject, const std::string& checkpoint) const;
  /// In the element type and on the device of the flags, inhibited.
  Model network(const Subject& subject, const Inhibition& inhibition);
  Tensor images(int64_t n) const;
  /// Without its measurement; `passes`: its cost in forward passes of one image.
  study::Cell cell(const std::string& what, const Subject& subject, const Inhibition& inhibition, int64_t n,
                   const std::string& success, double passes) const;

  Setup setup_;
  const study::StudyFlags& flags_;
  study::Study& study_;
  Dataset train_, test_;
};

}  // namespace hashgrad::liu2018
