// AutoAttack (Croce and Hein, ICML 2020): attacks of different kinds, each on the rows that resisted those
// before.
#pragma once

#include "attacks/registry.h"

namespace hashgrad {

/// standard: apgd-ce, apgd-t, fab-t, square. plus: apgd-ce, apgd-dlr, fab (5 restarts each), square, apgd-t,
/// fab-t. A row has the image of the first attack that breaks it; one that none breaks has the image of the
/// first attack. Its passes are counted over all attacks, and its first success is the forward passes of
/// those before plus the steps of the one that broke it. Needs 4 classes.
class AutoAttack : public Attack {
 public:
  enum class Version { standard, plus };
  struct Options {
    Norm norm = Norm::linf;
    double eps = 0.3;  // pixels
    Version version = Version::standard;
    int64_t iters = 100;     // of apgd and fab
    int64_t queries = 5000;  // of square
    uint64_t seed = 0;
  };
  explicit AutoAttack(Options options);
  static AttackInfo info();

  std::string name() const override { return "autoattack"; }
  std::string repr() const override;
  std::optional<Threat> threat() const override { return Threat{options_.norm, options_.eps}; }
  /// The attacks, in their order.
  const std::vector<std::unique_ptr<Attack>>& members() const { return members_; }

 protected:
  Crafted craft(const Oracle& oracle, const AttackInput& input) const override;

 private:
  Options options_;
  std::vector<std::unique_ptr<Attack>> members_;
};

}  // namespace hashgrad
