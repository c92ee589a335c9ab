// How other libraries step and project, and what they do when told nothing: the profiles (`--compat`) of
// fgsm, fgm, bim, pgd and mim. Each attack's own file has the table of its profiles; docs/attacks.md#profiles
// says what they change.
#pragma once

#include <span>
#include <string>

#include "attacks/registry.h"

namespace hashgrad {

/// Where a step goes. steepest: as attacks/threat.h; sign: sign(gradient) in every norm; dense: gradient /
/// its norm, over all pixels in l1 too; tied: in l1 the largest elements share the step.
enum class StepRule { steepest, sign, dense, tied };

/// How a step ends in ball and box. nearest: project(); radial: shortened towards the image, then the box, in
/// l1 too; box_first: the other way round; sphere: box first, then shortened or lengthened to exactly eps, so
/// that iterates may leave the box. In linf they are all the same.
enum class BallRule { nearest, radial, box_first, sphere };

/// What a library does otherwise than this framework.
struct LibraryRules {
  StepRule step = StepRule::steepest;
  BallRule ball = BallRule::nearest;
  double floor = 0;         // a gradient whose norm is below is divided by this, so the step is shorter
  bool cube_start = false;  // uniform in [-eps, eps] per pixel, shortened to the ball, and not cut by the box

  bool operator==(const LibraryRules&) const = default;
  /// Whether an iterate may lie outside the box.
  bool leaves_the_box() const { return ball == BallRule::sphere || cube_start; }
};
/// ", .rules = {...}" as in C++; nothing where they are what the attack does anyway.
std::string repr_of(const LibraryRules& rules, const LibraryRules& usual = {});

/// The direction of a step of length 1, row by row; a zero row stays zero. On the CPU.
Tensor along(const Tensor& gradient, Norm norm, const LibraryRules& rules);
/// x moved into the ball around `centre` by the rule, and, but for `sphere`, into the box; but for `sphere`
/// the budget holds to the last bit as in project(). On the CPU.
Tensor into_ball(const Tensor& x, const Tensor& centre, const Threat& ball, BallRule rule);
/// A random point by the rules: random_start() without them.
Tensor start_by(const LibraryRules& rules, const Tensor& centre, const Threat& ball, uint64_t seed,
                const std::vector<int64_t>& samples, uint32_t restart);

/// An attack of a library in one norm.
struct LibraryProfile {
  const char* name;  // of the library
  Norm norm;
  double eps;        // where the library has no default, that of this framework
  double step = 0;   // pixels
  double share = 0;  // of eps, where the step is not a number of pixels
  int64_t iters = 0;
  LibraryRules rules{};

  double step_of(double own_eps) const { return share > 0 ? share * own_eps : step; }
};
/// The row of `library` and `norm`; an Error that opens with `attack` where the library has no such norm.
LibraryProfile profile_of(std::span<const LibraryProfile> rows, const std::string& library, Norm norm,
                          const std::string& attack);
/// `--compat none` or a library of these rows.
AttackSetting compat_setting(std::span<const LibraryProfile> rows);

}  // namespace hashgrad
