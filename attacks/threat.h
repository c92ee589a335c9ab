// What an attacker may do to an image: a norm ball around it, cut by the box [0,1]. A ball is three
// functions: where to start, which way is steepest, and the way back inside. All of them compute where their
// images are, return results there, and have the same bits on every device (cpu/attack_step.h); those of l1
// and l0 know the CPU alone (cpu/attack_step_sparse.h), and images elsewhere are an Error.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace hashgrad {

/// l0 counts the pixels that differ, times channels.
enum class Norm { linf, l2, l1, l0 };
Norm parse_norm(const std::string& text);
const char* name_of(Norm norm);
/// Whether every engine has its steps and projections (Attack::on_device); else the CPU alone.
constexpr bool on_every_engine(Norm norm) { return norm == Norm::linf || norm == Norm::l2; }

/// All x' in [0,1] with ||x' - x|| <= eps. eps is in units of pixels, where black is 0 and white is 1; for l0
/// it is their number.
struct Threat {
  Norm norm = Norm::linf;
  double eps = 0.3;
};
/// An Error that opens with `attack` unless eps is a number in [0, 1e30] and the norm one of `norms`.
void validate(const Threat& threat, const char* attack,
              std::initializer_list<Norm> norms = {Norm::linf, Norm::l2});

/// Which way to step so that a small step of unit norm raises a function with this gradient most: its sign
/// (sign(0) = 0) for linf, gradient / ||gradient||_2 for l2, the sign of the largest element alone, the first
/// of equal ones, for l1. l0 has no small steps: there it is gradient / mean |gradient|. Row by row; a zero
/// row stays zero, and tiny gradients neither underflow nor meet a floor.
Tensor steepest(const Tensor& gradient, Norm norm);
/// gradient / ||gradient||_1, likewise.
Tensor unit_l1(const Tensor& gradient);
/// The signs of the kept[row] largest elements of a row, each / kept[row] (see cpu/attack_step_sparse.h).
Tensor sparse_signs(const Tensor& gradient, const std::vector<int64_t>& kept);
/// The gradient where a step along it stays in the box, 0 where x is at an end of the box and it points out.
Tensor inward(const Tensor& gradient, const Tensor& x);

/// x + scale * direction, in the element type.
Tensor step(const Tensor& x, double scale, const Tensor& direction);

/// Row by row the nearest point of the ball around `centre` along the line (l2) or axis by axis (linf), then
/// of the box; for l1 and l0 the nearest point of both at once. The budget holds to the last bit: the
/// differences, taken in float64, never exceed eps.
Tensor project(const Tensor& x, const Tensor& centre, const Threat& threat);
/// The same for the box alone.
Tensor clip(const Tensor& x);

/// project(step(x, scale, steepest(gradient, threat.norm)), centre, threat), bit for bit, in one pass where
/// every engine has it.
Tensor ascend(const Tensor& x, double scale, const Tensor& gradient, const Tensor& centre,
              const Threat& threat);

/// A point drawn uniformly from the ball around each row (then clipped to the box; l0: uniform draws from the
/// box in floor(eps) places), from a sequence of its own for each (seed, sample, restart).
Tensor random_start(const Tensor& centre, const Threat& threat, uint64_t seed,
                    const std::vector<int64_t>& samples, uint32_t restart);
/// The same point before the box cuts it, to rounding in the ball.
Tensor ball_point(const Tensor& centre, const Threat& threat, uint64_t seed,
                  const std::vector<int64_t>& samples, uint32_t restart);

/// Distance of every row, in float64: the number of pixels that differ, the sum of |difference|, its
/// Euclidean norm, its largest element. Each [N], on the CPU wherever the images are: they are there to
/// decide by.
struct Distances {
  Tensor l0, l1, l2, linf;
};
Distances distances(const Tensor& x, const Tensor& x_adv);

/// The one of `far`, Distances or an AttackResult, that is of this norm.
template <class Far>
const Tensor& in_norm(const Far& far, Norm norm) {
  switch (norm) {
    case Norm::linf:
      return far.linf;
    case Norm::l2:
      return far.l2;
    case Norm::l1:
      return far.l1;
    case Norm::l0:
      break;
  }
  return far.l0;
}

}  // namespace hashgrad
