// One attack on many images, row by row: what goes in, what comes out, and the check that nobody has to trust
// the attack for it.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "attacks/gradient.h"
#include "attacks/threat.h"

namespace hashgrad {

/// The images to attack. `samples` names each row for random numbers; empty means 0, 1, 2, ... What run() is
/// given may lie on any device. It hands craft() the images on the model's device or on the CPU
/// (see on_device), the labels and targets on the CPU, where they decide which row goes on, and as many
/// samples as rows.
struct AttackInput {
  Tensor x;                        // [N,C,H,W] in [0,1], of the model's element type
  Tensor y;                        // [N] int64, labels
  Tensor targets{};                // [N] int64, none equal to its label; undefined: untargeted
  std::vector<int64_t> samples{};  // N, or none

  Goal goal() const { return {y, targets}; }
};

/// How many rows there are of each image, by the sample numbers: one for each target, say.
int64_t rows_per_image(const AttackInput& input);

/// How a row ended.
enum class Status : int64_t {
  ok,            ///< the goal is reached
  max_iter,      ///< the budget of steps is spent and the goal not reached
  no_pair,       ///< no feature is left whose change brings the goal nearer
  zero_grad,     ///< the gradient is exactly zero: nothing moved from there on, no attack took place
  nan,           ///< the gradient is not finite, or the model gives no answer (nn/prediction.h)
  already_wrong  ///< the goal was reached before the attack began, as the judge sees it, and still is
};
const char* name_of(Status status);

/// One entry per row, on the CPU. A row's entry depends on the row alone, never on its neighbours or the
/// batch size.
struct AttackResult {
  Tensor x_adv;                ///< [N,C,H,W]
  Tensor success;              ///< [N] uint8: the goal is reached, by a forward pass after the attack
  Tensor first_success;        ///< [N] int64: steps taken when the attack first saw its goal reached; -1: no
                               ///< success, or one that only a randomised model's judge saw
  Tensor l0, l1, l2, linf;     ///< [N] float64: distance of x_adv from x
  Tensor status;               ///< [N] int64: Status
  Tensor forwards, backwards;  ///< [N] int64: passes spent on the row (a product with M cotangents counts M;
                               ///< a question to D draws of a randomised model counts D)
};

/// A result of n rows like those of x, to be filled.
AttackResult empty_result(const Tensor& x, int64_t n);
/// Its tensors by the names that they have in files: "x_adv", "success", ... They share its memory.
std::map<std::string, Tensor> tensors_of(const AttackResult& result);

/// What craft() leaves per row: the image, and what the attack says of itself. `first_success` is a claim,
/// and so is already_wrong; passes are counted as on an ordinary model. Of rows that run() finds broken the
/// status is replaced.
struct Crafted {
  /// The images as they are: no success (-1), no passes, max_iter.
  explicit Crafted(const Tensor& x);

  Tensor x_adv;  // where x is
  std::vector<int64_t> first_success, forwards, backwards;
  std::vector<Status> status;
};

class Attack {
 public:
  virtual ~Attack() = default;

  /// As on the command line.
  virtual std::string name() const = 0;
  /// The call that builds this attack again, every option spelled out.
  virtual std::string repr() const = 0;
  /// The ball that every x_adv must lie in; none for attacks that are bounded otherwise.
  virtual std::optional<Threat> threat() const { return std::nullopt; }
  /// Whether craft() never looks at a pixel itself but through functions of every engine (attacks/threat.h),
  /// so that its images stay on the model's device. The others work on the CPU and ask the model wherever it
  /// is.
  virtual bool on_device() const { return false; }

  /// Whether it differentiates the model; if not, a surrogate or stand-ins are an Error.
  virtual bool uses_gradients() const { return true; }

  /// Attacks every row and verifies what comes back with verify(). What the attack may ask of the model is up
  /// to `options` (see Oracle); success is judged on the model alone (see Oracle::judge). Errors: images
  /// outside [0,1] or not numbers, shapes or element types that are not the model's, labels or targets out of
  /// range, a target that equals its label, weights that are not finite, a model with fewer than two classes.
  AttackResult run(const Model& model, const AttackInput& input, const OracleOptions& options = {}) const;

 protected:
  virtual Crafted craft(const Oracle& oracle, const AttackInput& input) const = 0;
  /// How many passes each one that craft() counts stands for. An attack made of others counts theirs.
  virtual int64_t passes_per_count(const Oracle& oracle) const { return oracle.draws(); }
};

/// Judges the images that an attack made, on the device they are on, without trusting what it says of them:
/// success by asking Oracle::judge() in fp32, whatever arithmetic the attack computed in (core/math_mode.h),
/// and distances from the clean images. A row outside of the box or, if given, of the ball is an Error that
/// names the attack and the row. A claimed success that does not hold is none. A judge that votes also says
/// which rows were wrong before the attack.
AttackResult verify(const Oracle& judge, const AttackInput& input, const Crafted& crafted,
                    const std::optional<Threat>& threat, const std::string& attack);

/// The checks that run() makes: of model and images alone, and of the whole input.
void validate(const Model& model, const Tensor& x, const std::string& attack);
void validate(const Model& model, const AttackInput& input, const std::string& attack);
/// An Error that opens with `attack` unless its option `name` is in [1, most].
void validate_count(int64_t value, const char* name, const std::string& attack, int64_t most = 1'000'000);

// Rows of tensors whose axis 0 is the batch, on the tensor's device; how finished rows leave the batch. No
// row number may be out of range, nor be written twice.
Tensor gather(const Tensor& t, const std::vector<int64_t>& rows);
void scatter(Tensor& t, const std::vector<int64_t>& rows, const Tensor& values);
/// Writes rows `from_rows` of `from` over rows `rows` of t.
void scatter(Tensor& t, const std::vector<int64_t>& rows, const Tensor& from,
             const std::vector<int64_t>& from_rows);
AttackInput gather(const AttackInput& input, const std::vector<int64_t>& rows);
/// Per row: are all elements zero; are all elements numbers. Of a gradient just computed ask readings_of():
/// one copy from the device brings all there is to know.
std::vector<bool> zero_rows(const Tensor& t);
std::vector<bool> finite_rows(const Tensor& t);

}  // namespace hashgrad
