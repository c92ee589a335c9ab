// Square attack (Andriushchenko, Croce, Flammarion and Hein, ECCV 2020): random search with square windows;
// needs predictions alone, no gradient.
#pragma once

#include "attacks/registry.h"

namespace hashgrad {

/// Every step changes one square window of the perturbation, at a place and with signs drawn for the row, and
/// stays if it brings the goal nearer (margin of the logits). linf: vertical stripes of +-eps to start with,
/// then windows of +-eps. l2 and l1: windows that take the mass of another one, shaped like two hills of
/// opposite sign. A window covers p of the image, and p halves as steps go by.
class Square : public Attack {
 public:
  struct Options {
    Norm norm = Norm::linf;
    double eps = 0.3;      // pixels
    int64_t iters = 5000;  // forward passes after the clean one
    double p = 0.8;        // share of the pixels in the first windows
    uint64_t seed = 0;
  };
  explicit Square(Options options);
  static AttackInfo info();

  std::string name() const override { return "square"; }
  std::string repr() const override;
  std::optional<Threat> threat() const override { return Threat{options_.norm, options_.eps}; }
  bool uses_gradients() const override { return false; }

 protected:
  Crafted craft(const Oracle& oracle, const AttackInput& input) const override;

 private:
  Options options_;
};

/// p after `step` proposals: halved after 10, 50, 200, 500, 1000, 2000, 4000, 6000 and 8000.
double square_share(double p, int64_t step);

}  // namespace hashgrad
