// How far long work has come: a bar on a terminal, plain lines elsewhere, nothing when quiet.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace hashgrad {

/// Reports on stderr. On a terminal one line is redrawn with a bar, the rate and the time left; elsewhere (a
/// log file, a pipe) a line is written at each tenth of the work, at most one every two seconds.
class Progress {
 public:
  /// `total` in `unit`s, or 0 when it is not known. Without a unit only the share done is shown. `expected`:
  /// seconds that all of it was announced to take, see seconds_left().
  Progress(std::string label, int64_t total, bool quiet, std::string unit = "images", double expected = 0);
  /// Closes the line.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// `done` counts from 0 to `total`; `note` (a loss, an accuracy) follows the rate.
  void update(int64_t done, std::string_view note = {});

 private:
  using Clock = std::chrono::steady_clock;
  std::string line(int64_t done, double seconds, std::string_view note) const;

  std::string label_, unit_;
  double expected_;
  int64_t total_, first_ = -1, tenth_ = -1;
  bool quiet_, terminal_, drawn_ = false;
  Clock::time_point start_, last_;
};

/// How long the share `rest` of some work will take, when the share `done` has taken `seconds` and all of it
/// was announced to take `expected` (0: nothing was announced). The announcement counts like a tenth of the
/// work that took exactly so long: a first small piece that was slow corrects it, and does not replace it.
double seconds_left(double rest, double done, double seconds, double expected);

struct TrainProgress;
/// For TrainOptions::progress: the bar of a training, over so many images in all epochs together.
std::function<void(const TrainProgress&)> training_progress(Progress& progress, int64_t images);

/// "42 s", "3 min 05 s", "2 h 10 min".
std::string format_seconds(double seconds);

}  // namespace hashgrad
