// What the functions of cpu/attack_step.h are made of, element by element: the definition for every engine.
#pragma once

#include <cmath>

#include "core/normal.h"
#include "core/random.h"
#include "cpu/pointwise_functions.h"

namespace hashgrad::cpu::functions {

/// Sums over a row are taken as by a block of so many threads: term i is added to lane i % row_lanes, then
/// the lanes of 32 are added pairwise, those 16 apart first, then these sums in the same way.
inline constexpr int row_lanes = 256;

/// Sign of a gradient; 0 at NaN, unlike sign_of.
template <class T>
constexpr T direction_of(T gradient) {
  return static_cast<T>((gradient > 0) - (gradient < 0));
}

template <class T>
constexpr T stepped(T x, T scale, T direction) {
  return x + scale * direction;
}

/// An element of gradient / ||gradient||_2, by way of gradient / largest so that no square underflows; `root`
/// is the norm of that.
template <class T>
constexpr T unit_of(T gradient, double largest, double root) {
  return largest == 0 ? T{0} : static_cast<T>(static_cast<double>(gradient) / largest / root);
}

template <class T>
constexpr T in_box(T x) {
  return clamped(x, T{0}, T{1});
}

/// For an x that rounding to T has moved out of the ball, by half a unit in the last place.
template <class T>
constexpr T back_in_linf(T x, T centre, double eps) {
  while (std::abs(static_cast<double>(x) - static_cast<double>(centre)) > eps) x = std::nextafter(x, centre);
  return x;
}

template <class T>
constexpr T nearest_linf(T x, T centre, double eps) {
  const double c = static_cast<double>(centre);
  return back_in_linf(in_box(static_cast<T>(clamped(static_cast<double>(x), c - eps, c + eps))), centre, eps);
}

template <class T>
constexpr T drawn_nearer(T x, T centre, double factor) {
  const double c = static_cast<double>(centre);
  return in_box(static_cast<T>(c + factor * (static_cast<double>(x) - c)));
}

constexpr double square_of(double v) { return v * v; }

template <class T>
constexpr double difference_of(T x, T centre) {
  return static_cast<double>(x) - static_cast<double>(centre);
}

/// The larger; a NaN never is.
constexpr double larger_of(double a, double b) { return b > a ? b : a; }

/// Draw i of a new sequence, uniform in [-1, 1).
constexpr double uniform_draw(const Random& random, int64_t i) {
  const auto words = random.block(static_cast<uint32_t>(i / 2));
  const size_t first = static_cast<size_t>(i % 2) * 2;
  return 2 * Random::fraction(words[first], words[first + 1]) - 1;
}

/// Draw i of a new sequence, standard normal.
constexpr auto normal_draw(const auto& random, int64_t i) {
  const auto words = random.block(static_cast<uint32_t>(i));
  return normal_from(Random::fraction(words[0], words[1]), Random::fraction(words[2], words[3]));
}

/// What normal draws, the sum of whose squares is `sum`, are multiplied by to lie at distance `radius`.
template <class Double>
constexpr Double scale_to(Double radius, Double sum) {
  return radius / std::sqrt(larger_of(sum, 1e-300));
}

template <class T>
constexpr T offset_by(T centre, double scale, double draw) {
  return static_cast<T>(static_cast<double>(centre) + scale * draw);
}

}  // namespace hashgrad::cpu::functions
