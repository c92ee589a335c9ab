// What attacks have finished when their run is interrupted, kept in files for the run that goes on.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "attacks/attack.h"
#include "attacks/substitute.h"
#include "experiments/cli/options.h"

namespace hashgrad::cli {

/// What the results of attacks depend on, by name. A run goes on with another's results only where all of it
/// is the same.
using RunSettings = std::map<std::string, std::string>;

/// Of every attack on the model in this file: the file, images, labels and targets, seed, draws, device and
/// arithmetic.
RunSettings run_of(const std::string& model, const AttackInput& input, const CommonFlags& common,
                   const Draws& draws);
/// The bytes of a file in eight hexadecimal digits.
std::string digest_of_file(const std::string& path);

/// The rows of one attack, finished from the first on, and their checkpoint.
class FinishedRows {
 public:
  /// Of an attack on images x [N,C,H,W]; nothing is read or written yet.
  FinishedRows(const Tensor& x, std::string checkpoint, RunSettings run);

  int64_t count() const { return count_; }
  const std::string& checkpoint() const { return checkpoint_; }
  /// Begins with the rows in a checkpoint. Error: it is of another run, or damaged.
  void resume(const std::string& path);
  /// The next rows. Unless these are the last ones, writes the checkpoint, if it has not been written for a
  /// minute: the first time at once, so that a path which cannot be written shows early.
  void add(const AttackResult& part);
  /// Writes the checkpoint.
  void save();
  /// After the end: there is nothing to go on with.
  void remove_checkpoint() const;
  /// Time that all runs took so far, in seconds.
  double seconds() const;
  std::map<std::string, Tensor> tensors() const { return tensors_of(rows_); }

 private:
  using Clock = std::chrono::steady_clock;
  AttackResult rows_;
  std::string checkpoint_;
  RunSettings run_;
  int64_t count_ = 0;
  double earlier_ = 0;  // seconds of runs before this one
  Clock::time_point start_ = Clock::now();
  std::optional<Clock::time_point> saved_;
};

/// Whole attacks, a file each in a folder. Those of another run are Errors.
class FinishedAttacks {
 public:
  /// The folder is made with the first attack that is kept.
  FinishedAttacks(std::string folder, RunSettings run) : folder_(std::move(folder)), run_(std::move(run)) {}

  /// What the attack of this name did to images x; none if it is not there.
  std::optional<AttackResult> recall(const std::string& attack, const Tensor& x);
  void keep(const std::string& attack, const AttackResult& result);
  /// Of how many attacks it knows, by keep() or recall().
  size_t count() const { return known_.size(); }
  /// After the end: removes their files, and the folder if nothing else is there.
  void remove() const;

 private:
  std::string file_of(const std::string& attack) const;

  std::string folder_;
  RunSettings run_;
  std::set<std::string> known_;
};

/// The rounds of a substitute's training, in one file.
class FinishedRounds {
 public:
  FinishedRounds(std::string checkpoint, RunSettings run)
      : checkpoint_(std::move(checkpoint)), run_(std::move(run)) {}

  /// The file that holds the rounds finished last; empty without one.
  const std::string& file() const { return file_; }
  /// What a checkpoint holds; `substitute` gets the weights that it had then. Error: it is of another run, or
  /// damaged.
  SubstituteRounds resume(const std::string& path, const Model& substitute);
  void keep(const SubstituteRounds& rounds, const Model& substitute);
  /// After the end: there is nothing to go on with.
  void remove_checkpoint() const;

 private:
  std::string checkpoint_, file_;
  RunSettings run_;
};

}  // namespace hashgrad::cli
