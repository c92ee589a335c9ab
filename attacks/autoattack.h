// AutoAttack (Croce and Hein, ICML 2020): attacks of different kinds, each on the rows that resisted those
// before.
#pragma once

#include "attacks/registry.h"

namespace hashgrad {

/// standard: apgd-ce, apgd-t, fab-t, square. plus: apgd-ce, apgd-dlr, fab (5 restarts each), square, apgd-t,
/// fab-t. For l1, standard starts apgd-ce five times and apgd-t goes for five classes instead of nine. rand,
/// for randomised models: apgd-ce, apgd-dlr, over the oracle's draws, or over 20 where it would follow a
/// single one, as the authors run them: a row's first success only just changes the mean of the draws, so
/// they go on to the last. Members are judged by draws of their own, so that the judge of the result has not
/// taken part. Members, restarts, targets and the three balls of apgd for l1 are those of the authors'
/// program at its release of January 2023; there plus and rand run apgd in one ball in l1 too, and warn of
/// plus. A row has the image of the first attack that breaks it; one that none breaks has the image of the
/// first attack. Its passes are counted over all attacks, and its first success is the forward passes of
/// those before plus the steps of the one that broke it. Needs 4 classes, rand 3.
class AutoAttack : public Attack {
 public:
  enum class Version { standard, plus, rand };
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
  int64_t passes_per_count(const Oracle&) const override { return 1; }

 private:
  OracleOptions asked_by(const Attack& member, const Oracle& oracle) const;

  Options options_;
  std::vector<std::unique_ptr<Attack>> members_;
};

}  // namespace hashgrad
