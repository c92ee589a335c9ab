// The only place where attacks differentiate: a model that answers with logits, input gradients and Jacobians
// in batches of bounded size.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "attacks/loss.h"
#include "nn/model.h"
#include "nn/prediction.h"
#include "nn/randomised.h"

namespace hashgrad {

/// One forward and one backward pass, where the images are.
struct LossGradient {
  Tensor logits;    // [N,K]
  Tensor value;     // [N], what was differentiated
  Tensor gradient;  // [N,C,H,W], d value[n] / d x[n]
};

/// How often a randomised model (nn/randomised.h) is asked. An ordinary model has one answer, whatever stands
/// here.
///
/// Draws are common to all rows and all steps: the same `count` members of the family answer every question
/// of an attack. So a row's result cannot depend on its neighbours, a loss that rises from one step to the
/// next has not risen by luck, and each draw is made once. Those that judge are others, which the attack
/// never meets.
struct Draws {
  int64_t count = 1;       // while crafting: expectation over transformation (Athalye et al., ICML 2018)
  int64_t judge = 20;      // that vote on whether an image fools the model
  uint64_t seed = 0;       // of both
  bool rehearsal = false;  // the votes are on the way, so that the judge's draws stay unseen
};

/// Thrown by an oracle that was told to stop. What was asked is not answered.
struct Stopped {};

/// How a model is asked.
struct OracleOptions {
  int64_t batch = 128;               // most rows in one pass; bounds memory, changes no result
  const Model* surrogate = nullptr;  // what is differentiated in the model's place; must outlive the oracle
  Draws draws{};
  /// Differentiate past the input transforms as if they were the identity (BPDA, see transform_input).
  bool stand_ins = false;
  /// Draws made already, to be used again where they fit the model: those of Oracle::options().
  std::shared_ptr<Realisations> realisations{};
  /// Set by another thread or a signal: the next question is answered with Stopped, so that an attack of
  /// hours ends within one pass.
  const std::atomic<bool>* stop = nullptr;
};

/// A model as the attacker sees it, in inference: its weights are constants, so passes compute and save
/// nothing for them. Rows are independent of each other: neither the batch nor a row's neighbours change a
/// bit of its result. Images may lie on the model's device, or on the CPU: answers come back to where they
/// are. Labels and targets on the CPU cost no waiting (see checked_labels() in autograd/ops/loss.cpp). The
/// model must outlive the oracle.
///
/// With a surrogate the model answers with logits and losses, and everything differentiated is the
/// surrogate's: backward pass differentiable approximation (Athalye, Carlini and Wagner, ICML 2018) of a
/// whole model that has no gradient worth following. An Error if the two do not take the same images to the
/// same classes in the same element type on the same device; and if `stand_ins` is set but what is
/// differentiated has no input transform.
///
/// A randomised model answers with the mean of the logits of its draws; outputs and their products with
/// cotangents are of that mean, losses and their gradients the mean of each draw's own. A surrogate may be
/// randomised too.
class Oracle {
 public:
  explicit Oracle(const Model& model, const OracleOptions& options = {});
  explicit Oracle(Model&& model, const OracleOptions& options = {}) = delete;  // it would be gone
  /// The one to ask whether an image fools the model: of an ordinary model without its surrogate, of a
  /// randomised one by `draws.judge` draws that no other oracle uses, whose predict() is their vote.
  static Oracle judge(const Model& model, const OracleOptions& options = {});
  static Oracle judge(Model&& model, const OracleOptions& options = {}) = delete;

  const Model& model() const { return model_; }
  const OracleOptions& options() const { return options_; }
  int64_t batch() const { return options_.batch; }
  /// How many passes answer one question: 1, or the draws of a randomised model.
  int64_t draws() const { return static_cast<int64_t>(drawn_.size()); }
  /// The models of those passes, each of one answer.
  const std::vector<const Model*>& drawn() const { return drawn_; }
  /// Whether a success that this oracle sees is one. A randomised model is judged by other draws than those
  /// an attack follows: one that stopped at its first success there, or left out a row that seems wrong
  /// already, would give away images that the judge gets right.
  bool decides() const { return votes_ || !randomised(model_); }

  Tensor logits(const Tensor& x) const;
  /// The same in fp32, as the judge of an attack asks, whatever arithmetic gradients are computed in
  /// (core/math_mode.h).
  Tensor exact_logits(const Tensor& x) const;
  /// What `logits` of x, and the values of `loss`, say of rows that seem to have reached the goal is said
  /// again in fp32: an attack that stops at a success which arithmetic alone sees gives its image away.
  void confirm(const Tensor& x, const Goal& goal, Tensor& logits) const;
  void confirm(const Tensor& x, const Goal& goal, const Loss& loss, LossGradient& pass) const;
  /// As predictions_of() says, -1 for no answer. A judge of a randomised model counts the classes that its
  /// draws predict: the most frequent, the lowest on a tie; -1 where any draw gives no answer.
  std::vector<int64_t> predict(const Tensor& x) const;
  /// What each draw predicts, [draws][N].
  std::vector<std::vector<int64_t>> votes(const Tensor& x) const;

  /// The loss itself. `labels` undefined: those of the model's own predictions.
  LossGradient gradient(const Tensor& x, const Tensor& labels, const Loss& loss) const;
  /// What grows as the goal comes nearer, see objective_of().
  LossGradient ascent(const Tensor& x, const Goal& goal, const Loss& loss) const;
  /// The same by a forward pass alone, without the gradient.
  LossGradient height(const Tensor& x, const Goal& goal, const Loss& loss) const;
  /// The value that ascent() differentiates, from logits at hand.
  static Tensor objective(const Tensor& logits, const Goal& goal, const Loss& loss);
  /// The outputs that go with logits at hand.
  static Tensor shown(const Tensor& logits, Outputs of);

  /// Products of `cotangents` [M,N,K] with d outputs / d x: the logits [N,K] and [M,N,C,H,W].
  std::pair<Tensor, Tensor> vjp(const Tensor& x, const Tensor& cotangents, Outputs of) const;
  /// The same, of logits, where the cotangents depend on them: `choose` makes those [M,B,K] of rows [begin,
  /// begin + B) from their logits [B,K] on the CPU. One forward pass serves both; `copies` is M.
  using Choose = std::function<Tensor(const Tensor& logits, int64_t begin)>;
  std::pair<Tensor, Tensor> vjp(const Tensor& x, int64_t copies, const Choose& choose) const;
  /// [N,K,C,H,W]: d outputs[n,k] / d x[n], all K classes in one backward pass.
  Tensor jacobian(const Tensor& x, Outputs of) const;

 private:
  Oracle(const Model& model, const OracleOptions& options, int64_t draws, Stream stream);
  void check_stop() const;
  std::vector<int64_t> doubtful(const Goal& goal, const Tensor& logits) const;
  Variable answer(const Variable& image) const;
  int64_t stacked_rows(int64_t copies) const;
  template <class F>
  std::pair<Tensor, Tensor> stacked_vjp(const Tensor& x, int64_t copies, Outputs of,
                                        const F& cotangents_of) const;
  Tensor settled(const Tensor& labels, const Tensor& x) const;
  template <class F>
  LossGradient differentiate(const Tensor& x, const F& value_of) const;

  const Model& model_;
  OracleOptions options_;
  std::vector<const Model*> drawn_;       // the model itself, or draws of it
  bool votes_ = false;                    // predict() is a vote
  std::shared_ptr<const Oracle> behind_;  // asks the surrogate; none without
};

/// d loss[n] / d x[n], [N,C,H,W].
Tensor input_gradient(const Model& model, const Tensor& x, const Tensor& labels, const Loss& loss,
                      int64_t batch = 128);
/// See Oracle::jacobian.
Tensor jacobian(const Model& model, const Tensor& x, Outputs of, int64_t batch = 128);

/// What the host has to know of a pass to steer by, an entry per row. However much it is, one copy brings it
/// from the device: an attack that asks once per step waits once per step.
struct Readings {
  std::vector<int64_t> predictions;  // as predictions_of()
  std::vector<double> values;        // what was differentiated
  std::vector<bool> zero, finite;    // whether all elements of the gradient are zero; are numbers
};
/// Of parts that are undefined, predictions are -1, values 0, gradients zero and finite.
Readings readings_of(const LossGradient& pass);

}  // namespace hashgrad
