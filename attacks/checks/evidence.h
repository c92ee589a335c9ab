// What the checks of an evaluation judge by: attacks on the same rows, each run once, however many checks ask
// for it.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "attacks/attack.h"

namespace hashgrad {

/// Opens the spec of an attack that is to differentiate past the model's input transforms
/// (OracleOptions::stand_ins).
inline constexpr std::string_view bpda = "bpda ";

struct EvidenceOptions {
  int64_t batch = 128;
  uint64_t seed = 0;
  /// Told what is about to be run; may be empty.
  std::function<void(const std::string& what)> progress = {};
  /// Of a randomised model: how many draws over_draws() follows, and how many judge everything. Their seed
  /// is `seed`.
  Draws draws{.count = 20};
  /// As in OracleOptions.
  const std::atomic<bool>* stop = nullptr;
  /// What this attack did to images x in a run that was interrupted, if it is known; and told of every attack
  /// that has ended. Either may be empty.
  std::function<std::optional<AttackResult>(const std::string& what, const Tensor& x)> recall = {};
  std::function<void(const std::string& what, const AttackResult& result)> keep = {};
};

/// The rows that the model gets right without an attack, and what has been tried on them. The model must
/// outlive this.
class Evidence {
 public:
  /// Errors: as Attack::run; a threat that allows no change; no row that the model gets right.
  Evidence(const Model& model, const AttackInput& rows, const Threat& threat, EvidenceOptions options = {});

  const Model& model() const { return model_; }
  const Threat& threat() const { return threat_; }
  const EvidenceOptions& options() const { return options_; }
  /// The rows that were right: untargeted, with their labels.
  const AttackInput& input() const { return right_; }
  int64_t rows() const { return right_.x.size(0); }
  /// Of how many these are the right ones.
  int64_t rows_given() const { return given_; }
  /// [N,K] without attack, of input(), as the judge sees it.
  const Tensor& logits() const { return logits_; }
  /// Decides which images fool the model.
  const Oracle& judge() const { return judge_; }
  /// The model as attacks meet it that know nothing of draws: of a randomised one, a single draw.
  Oracle oracle() const { return Oracle(model_, asked(1)); }

  /// The threat, `factor` times as large, as settings of an attack: "norm=linf,eps=0.3".
  std::string ball(double factor = 1) const;
  /// The factor at which the ball holds every image of the box.
  double whole_box() const;

  /// What the attack of this spec, perhaps behind `bpda`, did to input(). Run once; progress is told. Against
  /// a randomised model it follows a single draw, as the attacks of the literature did.
  const AttackResult& attack(const std::string& spec);
  /// The same along the mean gradient of `options().draws.count` draws; of an ordinary model, the same.
  const AttackResult& over_draws(const std::string& spec);
  /// What over_draws() of this spec is called in attacks() and in reports.
  std::string name_over_draws(const std::string& spec) const;
  /// The same against another network; `name` tells networks apart. Success is judged on that network.
  const AttackResult& attack(const std::string& spec, const Model& other, const std::string& name);
  /// The same, every row aimed at the class with the rank-th largest logit of those that are not its label.
  const AttackResult& attack_rival(const std::string& spec, int64_t rank);
  /// Per row whether that attack succeeded.
  std::vector<bool> broken(const std::string& spec);
  /// Per row whether this attack on input() succeeded within the budget; one without a ball may need more.
  std::vector<bool> within(const AttackResult& result) const;
  /// Every attack run on the model itself so far, by spec.
  const std::map<std::string, AttackResult>& attacks() const { return attacks_; }

  /// Rows broken within the budget by anything run so far, the images made on other networks included: what
  /// is left is the robust accuracy, worst case per image.
  const std::vector<bool>& worst_case() const { return worst_; }
  /// For each of these rows the nearest such image; the clean image for the others.
  const Tensor& nearest() const { return nearest_; }

  /// The rows in which `mask` is set, by their sample numbers.
  std::vector<int64_t> samples(const std::vector<bool>& mask) const;

 private:
  OracleOptions asked(int64_t draws) const;
  const AttackResult& run(const std::string& name, const std::string& spec, int64_t draws);
  using Results = std::map<std::string, AttackResult>;
  const AttackResult& once(Results& results, const std::string& what,
                           const std::function<AttackResult()>& attack);
  void note(const Tensor& x_adv);

  const Model& model_;
  Threat threat_;
  EvidenceOptions options_;
  int64_t given_ = 0;
  Oracle judge_;
  AttackInput right_;
  Tensor logits_;
  Results attacks_, others_;
  std::vector<bool> worst_;
  std::vector<double> distance_;  // of nearest_
  Tensor nearest_;
};

/// The specs and, for a model with input transforms, each of them once more past those (bpda).
std::vector<std::string> with_stand_ins(std::vector<std::string> specs, const Evidence& evidence);
std::vector<bool> succeeded(const AttackResult& result);
int64_t count(const std::vector<bool>& mask);
/// Rows in `a` that are not in `b`.
std::vector<bool> without(const std::vector<bool>& a, const std::vector<bool>& b);
/// Rows in `a` or in `b`.
std::vector<bool> either(std::vector<bool> a, const std::vector<bool>& b);

}  // namespace hashgrad
