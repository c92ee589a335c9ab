// What an attacker may do to an image: a norm ball around it, cut by the box [0,1]. A ball is three
// functions: where to start, which way is steepest, and the way back inside. All of them compute where their
// images are, return results there, and have the same bits on every device (cpu/attack_step.h).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace hashgrad {

enum class Norm { linf, l2 };
Norm parse_norm(const std::string& text);
const char* name_of(Norm norm);

/// All x' in [0,1] with ||x' - x|| <= eps. eps is in units of pixels, where black is 0 and white is 1.
struct Threat {
  Norm norm = Norm::linf;
  double eps = 0.3;
};
/// An Error that opens with `attack` unless eps is a number in [0, 1e30].
void validate(const Threat& threat, const char* attack);

/// Which way to step so that a small step of unit norm raises a function with this gradient most: its sign
/// (sign(0) = 0) for linf, gradient / ||gradient||_2 for l2. Row by row; a zero row stays zero, and tiny
/// gradients neither underflow nor meet a floor.
Tensor steepest(const Tensor& gradient, Norm norm);

/// x + scale * direction, in the element type.
Tensor step(const Tensor& x, double scale, const Tensor& direction);

/// Row by row the nearest point of the ball around `centre` along the line (l2) or axis by axis (linf), then
/// of the box. The budget holds to the last bit: the differences, taken in float64, never exceed eps.
Tensor project(const Tensor& x, const Tensor& centre, const Threat& threat);
/// The same for the box alone.
Tensor clip(const Tensor& x);

/// project(step(x, scale, steepest(gradient, threat.norm)), centre, threat), bit for bit, in one pass.
Tensor ascend(const Tensor& x, double scale, const Tensor& gradient, const Tensor& centre,
              const Threat& threat);

/// A point drawn uniformly from the ball around each row (then clipped to the box), from a sequence of its
/// own for each (seed, sample, restart).
Tensor random_start(const Tensor& centre, const Threat& threat, uint64_t seed,
                    const std::vector<int64_t>& samples, uint32_t restart);

/// Distance of every row, in float64: the number of pixels that differ, the sum of |difference|, its
/// Euclidean norm, its largest element. Each [N], on the CPU wherever the images are: they are there to
/// decide by.
struct Distances {
  Tensor l0, l1, l2, linf;
};
Distances distances(const Tensor& x, const Tensor& x_adv);

}  // namespace hashgrad
