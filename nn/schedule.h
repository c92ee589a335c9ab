// Learning-rate schedules: pure functions of how far training has come, so a resumed run needs no state.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace hashgrad {

/// Factor on the base learning rate:
///   constant              1
///   step:E1,E2,...[:G]    G (0.1) to the power of the number of epochs E already completed
///   cosine                (1 + cos(pi t)) / 2, t = share of all steps done
///   exponential:G         G^epoch
///   triangular:P          0 at the start, 1 after the share P (0.2) of all steps, 0 at the end
///   onecycle:P            cosine from 1/25 to 1 at share P (0.3), then to 1/250000 (Smith and Topin 2018)
///   inv:G:Q               (1 + G step)^-Q, Q 0.75 (the Caffe LeNet uses G = 1e-4)
class Schedule {
 public:
  /// Reads one of the forms above; anything else is an Error that lists them.
  explicit Schedule(const std::string& text = "constant");

  /// Factor for the update number `step` (from 0) of a run of `epochs` epochs.
  double factor(int64_t step, int64_t steps_per_epoch, int64_t epochs) const;

  /// Canonical text.
  std::string text() const;

 private:
  enum class Kind { constant, step, cosine, exponential, triangular, onecycle, inv };
  Kind kind_ = Kind::constant;
  std::vector<double> milestones_;  // step
  double a_ = 0, b_ = 0;            // gamma or share; power
};

}  // namespace hashgrad
