#include "attacks/library_rules.h"

#include <algorithm>
#include <cmath>

#include "attacks/row_loops.h"

namespace hashgrad {
namespace {

constexpr const char* step_names[] = {"steepest", "sign", "dense", "tied"};
constexpr const char* ball_names[] = {"nearest", "radial", "box_first", "sphere"};

/// centre + factor[row] * (x - centre).
Tensor stretched(const Tensor& x, const Tensor& centre, const std::vector<double>& factor) {
  Tensor result = Tensor::empty(x.shape(), x.dtype());
  for_float_type(x.dtype(), "compat", [&]<class T>() {
    for (size_t row = 0; row < factor.size(); ++row) {
      const T *from = row_data<T>(x, row), *c = row_data<T>(centre, row);
      T* out = row_data<T>(result, row);
      for (int64_t i = 0; i < row_size(x); ++i) {
        const double origin = static_cast<double>(c[i]), way = static_cast<double>(from[i]) - origin;
        out[i] = static_cast<T>(origin + factor[row] * way);
      }
    }
  });
  return result;
}

std::vector<double> norms_of(const Tensor& x, const Tensor& centre, Norm norm) {
  return in_norm(distances(centre, x), norm).to_vector<double>();
}

/// Every row that is longer than eps shortened to it, and, if `lengthened`, every shorter one that is not the
/// centre lengthened.
Tensor at_radius(const Tensor& x, const Tensor& centre, const Threat& ball, bool lengthened) {
  std::vector<double> factor;
  for (const double length : norms_of(x, centre, ball.norm))
    factor.push_back(length > ball.eps || (lengthened && length > 0) ? ball.eps / length : 1);
  return stretched(x, centre, factor);
}

/// The signs of the largest elements, which share a step of length 1.
Tensor tied(const Tensor& gradient) {
  Tensor result = Tensor::zeros(gradient.shape(), gradient.dtype());
  for_float_type(gradient.dtype(), "compat", [&]<class T>() {
    const int64_t n = row_size(gradient);
    for (size_t row = 0; row < static_cast<size_t>(gradient.size(0)); ++row) {
      const T* g = row_data<T>(gradient, row);
      T largest = 0;
      for (int64_t i = 0; i < n; ++i) largest = std::max(largest, std::abs(g[i]));
      if (!(largest > 0)) continue;
      const auto is_largest = [=](T v) { return std::abs(v) == largest; };
      const T share = T{1} / static_cast<T>(std::count_if(g, g + n, is_largest));
      std::transform(g, g + n, row_data<T>(result, row),
                     [=](T v) { return is_largest(v) ? std::copysign(share, v) : T{0}; });
    }
  });
  return result;
}

Tensor direction(const Tensor& gradient, Norm norm, StepRule rule) {
  if (rule == StepRule::sign) return steepest(gradient, Norm::linf);
  if (norm != Norm::l1 || rule == StepRule::steepest) return steepest(gradient, norm);
  return rule == StepRule::dense ? unit_l1(gradient) : tied(gradient);
}

}  // namespace

std::string repr_of(const LibraryRules& rules, const LibraryRules& usual) {
  if (rules == usual) return "";
  return fmt::format(
      ", .rules = {{.step = StepRule::{}, .ball = BallRule::{}, .floor = {}, .cube_start = {}}}",
      step_names[static_cast<size_t>(rules.step)], ball_names[static_cast<size_t>(rules.ball)], rules.floor,
      rules.cube_start);
}

Tensor along(const Tensor& gradient, Norm norm, const LibraryRules& rules) {
  const Tensor unit = direction(gradient, norm, rules.step);
  if (rules.floor == 0) return unit;
  const Tensor zero = Tensor::zeros(gradient.shape(), gradient.dtype());
  std::vector<double> factor;
  for (const double length : norms_of(gradient, zero, norm))
    factor.push_back(std::min(1.0, length / rules.floor));
  return stretched(unit, zero, factor);
}

Tensor into_ball(const Tensor& x, const Tensor& centre, const Threat& ball, BallRule rule) {
  if (rule == BallRule::nearest || ball.norm == Norm::linf) return project(x, centre, ball);
  const Tensor at = at_radius(rule == BallRule::radial ? x : clip(x), centre, ball, rule == BallRule::sphere);
  return rule == BallRule::sphere ? at
                                  : project(at, centre, ball);  // the box, and what rounding left outside
}

Tensor start_by(const LibraryRules& rules, const Tensor& centre, const Threat& ball, uint64_t seed,
                const std::vector<int64_t>& samples, uint32_t restart) {
  if (!rules.cube_start) return random_start(centre, ball, seed, samples, restart);
  return at_radius(ball_point(centre, {Norm::linf, ball.eps}, seed, samples, restart), centre, ball, false);
}

LibraryProfile profile_of(std::span<const LibraryProfile> rows, const std::string& library, Norm norm,
                          const std::string& attack) {
  const auto found = std::find_if(rows.begin(), rows.end(),
                                  [&](const auto& row) { return row.name == library && row.norm == norm; });
  check(found != rows.end(), "{}: has no norm {} in {}", attack, name_of(norm), library);
  return *found;
}

AttackSetting compat_setting(std::span<const LibraryProfile> rows) {
  std::vector<std::string> words{"none"};
  for (const LibraryProfile& row : rows)
    if (words.back() != row.name) words.push_back(row.name);
  return AttackSetting::word("compat", "none", words, "library whose defaults and rules hold");
}

}  // namespace hashgrad
