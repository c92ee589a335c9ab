#include "nn/schedule.h"

#include <cmath>
#include <fmt/ranges.h>
#include <numbers>

#include "core/error.h"
#include "core/settings.h"

namespace hashgrad {
namespace {

constexpr const char* accepted =
    "constant, step:E1,E2:GAMMA, cosine, exponential:GAMMA, triangular:SHARE, onecycle:SHARE, "
    "inv:GAMMA:POWER";
constexpr double largest = 1e9;

/// From a to b along half a period of the cosine, t in [0, 1].
double cosine_between(double a, double b, double t) {
  return b + (a - b) * 0.5 * (1 + std::cos(std::numbers::pi * t));
}

}  // namespace

Schedule::Schedule(const std::string& text) {
  const std::vector<std::string> parts = split_at(text, ':');
  const std::string& name = parts[0];
  const auto number = [&](size_t i, double least, double most, double otherwise) {
    return i < parts.size()
               ? parse_number(parts[i], "schedule '" + text + "': value " + std::to_string(i), least, most)
               : otherwise;
  };
  size_t least = 1, most = 1;
  if (name == "constant" || name == "cosine") {
    kind_ = name == "constant" ? Kind::constant : Kind::cosine;
  } else if (name == "step") {
    kind_ = Kind::step;
    least = 2, most = 3;
    if (parts.size() > 1)
      for (const std::string& epoch : split_at(parts[1], ','))
        milestones_.push_back(parse_number(epoch, "schedule '" + text + "': epoch", 0, largest));
    a_ = number(2, 0, 1, 0.1);
  } else if (name == "exponential") {
    kind_ = Kind::exponential;
    least = most = 2;
    a_ = number(1, 0, 1, 0);
  } else if (name == "triangular" || name == "onecycle") {
    kind_ = name == "triangular" ? Kind::triangular : Kind::onecycle;
    most = 2;
    a_ = number(1, 0, 1, kind_ == Kind::triangular ? 0.2 : 0.3);
  } else if (name == "inv") {
    kind_ = Kind::inv;
    least = 2, most = 3;
    a_ = number(1, 0, largest, 0);
    b_ = number(2, 0, largest, 0.75);
  } else {
    fail("schedule '{}' is not known; accepted: {}", text, accepted);
  }
  check(parts.size() >= least && parts.size() <= most, "schedule '{}' has {} values, accepted: {}", text,
        parts.size() - 1, accepted);
}

double Schedule::factor(int64_t step, int64_t steps_per_epoch, int64_t epochs) const {
  const double done = static_cast<double>(step);
  const double t = done / static_cast<double>(steps_per_epoch * epochs);
  const double epoch = static_cast<double>(step / steps_per_epoch);
  switch (kind_) {
    case Kind::step: {
      double factor = 1;
      for (double milestone : milestones_)
        if (epoch >= milestone) factor *= a_;
      return factor;
    }
    case Kind::cosine:
      return cosine_between(1, 0, t);
    case Kind::exponential:
      return std::pow(a_, epoch);
    case Kind::triangular:
      return t < a_ ? t / a_ : (1 - t) / (1 - a_);
    case Kind::onecycle:
      return t < a_ ? cosine_between(1.0 / 25, 1, t / a_)
                    : cosine_between(1, 1.0 / 250000, (t - a_) / (1 - a_));
    case Kind::inv:
      return std::pow(1 + a_ * done, -b_);
    case Kind::constant:
      break;
  }
  return 1;
}

std::string Schedule::text() const {
  switch (kind_) {
    case Kind::step:
      return fmt::format("step:{}:{}", fmt::join(milestones_, ","), a_);
    case Kind::cosine:
      return "cosine";
    case Kind::exponential:
      return fmt::format("exponential:{}", a_);
    case Kind::triangular:
      return fmt::format("triangular:{}", a_);
    case Kind::onecycle:
      return fmt::format("onecycle:{}", a_);
    case Kind::inv:
      return fmt::format("inv:{}:{}", a_, b_);
    case Kind::constant:
      break;
  }
  return "constant";
}

}  // namespace hashgrad
