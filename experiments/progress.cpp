#include "experiments/progress.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fmt/format.h>
#include <unistd.h>

#include "experiments/try_print.h"
#include "nn/train.h"

namespace hashgrad {
namespace {

constexpr int bar_width = 24;

std::string bar(double share) {
  const int filled = static_cast<int>(std::lround(share * bar_width));
  return fmt::format("[{}{}]", std::string(static_cast<size_t>(filled), '='),
                     std::string(static_cast<size_t>(bar_width - filled), ' '));
}

}  // namespace

std::string format_seconds(double seconds) {
  const int64_t s = std::llround(std::clamp(seconds, 0.0, 1e9));
  if (s < 60) return fmt::format("{} s", s);
  if (s < 3600) return fmt::format("{} min {:02} s", s / 60, s % 60);
  return fmt::format("{} h {:02} min", s / 3600, s / 60 % 60);
}

double seconds_left(double rest, double done, double seconds, double expected) {
  const double announced = expected > 0 ? 0.1 : 0;
  return rest * (seconds + announced * expected) / (done + announced);
}

Progress::Progress(std::string label, int64_t total, bool quiet, std::string unit, double expected)
    : label_(std::move(label)),
      unit_(std::move(unit)),
      expected_(expected),
      total_(total),
      quiet_(quiet),
      terminal_(isatty(STDERR_FILENO) == 1),
      start_(Clock::now()),
      last_(start_) {}

Progress::~Progress() {
  if (terminal_ && drawn_) std::fputc('\n', stderr);
}

std::string Progress::line(int64_t done, double seconds, std::string_view note) const {
  const double rate = seconds > 0 ? static_cast<double>(done - first_) / seconds : 0.0;
  std::string text = label_;
  if (total_ > 0) {
    const double share = std::clamp(static_cast<double>(done) / static_cast<double>(total_), 0.0, 1.0);
    if (terminal_) text += " " + bar(share);
    text += fmt::format(" {:3.0f} %", 100 * share);
  }
  if (!unit_.empty()) {
    text += total_ > 0 ? fmt::format("  {}/{} {}", done, total_, unit_) : fmt::format("  {} {}", done, unit_);
    if (rate > 0) text += fmt::format(", {:.0f}/s", rate);
  }
  if ((rate > 0 || expected_ > 0) && done < total_) {
    const double total = static_cast<double>(total_), rest = static_cast<double>(total_ - done) / total,
                 since = static_cast<double>(done - first_) / total;
    text += ", " + format_seconds(seconds_left(rest, since, seconds, expected_)) + " left";
  }
  if (!note.empty()) text += fmt::format("  {}", note);
  return text;
}

void Progress::update(int64_t done, std::string_view note) {
  if (quiet_) return;
  if (first_ < 0) first_ = done > 0 && total_ > 0 && done < total_ ? done : 0;
  const auto now = Clock::now();
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const bool finished = total_ > 0 && done >= total_;
  if (terminal_) {
    if (!finished && drawn_ && now - last_ < std::chrono::milliseconds(100)) return;
    try_print(stderr, "\r{}\x1b[K", line(done, seconds, note));
    std::fflush(stderr);
  } else {
    const int64_t tenth = total_ > 0 ? 10 * done / total_ : done;
    if (tenth == tenth_ || (!finished && now - last_ < std::chrono::seconds(2))) return;
    tenth_ = tenth;
    try_print(stderr, "{}\n", line(done, seconds, note));
  }
  drawn_ = true;
  last_ = now;
}

std::function<void(const TrainProgress&)> training_progress(Progress& progress, int64_t images) {
  return [&progress, images](const TrainProgress& p) {
    const int64_t seen = p.steps > 0 ? p.step * images / p.steps : 0;
    progress.update(seen, fmt::format("epoch {}/{}  loss {:.4f}  accuracy {:.2f} %", p.epoch, p.epochs,
                                      p.loss, 100 * p.accuracy));
  };
}

}  // namespace hashgrad
