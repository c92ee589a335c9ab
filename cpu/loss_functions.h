// What the losses of cpu/loss.h are made of, row by row: the definition for every engine.
#pragma once

#include "cpu/loss.h"

namespace hashgrad::cpu::functions {

/// What the loss of a row of logits is divided by.
template <class T>
constexpr double scale_of(const LogitChoice& c, const T* z) {
  if (!c.scaled) return 1;
  return static_cast<double>(z[c.first]) -
         0.5 * (static_cast<double>(z[c.third]) + static_cast<double>(z[c.fourth]));
}

template <class T>
constexpr double difference_of(const LogitChoice& c, const T* z) {
  return static_cast<double>(z[c.plus]) - static_cast<double>(z[c.minus]);
}

/// Which logits of a row the loss is made of, given its label y (and target t) and the columns of its largest
/// logits, falling, equal ones in column order: two for the margin, else four (as far as there are that
/// many).
template <class T>
constexpr LogitChoice choose(LogitLoss kind, const T* z, const int64_t* top, int64_t y, int64_t t) {
  const int64_t rival = top[0] == y ? top[1] : top[0];
  if (kind == LogitLoss::margin) return {y, rival};
  const bool targeted = kind == LogitLoss::dlr_targeted;
  LogitChoice c{targeted ? t : rival, y, 1, top[0], top[2], targeted ? top[3] : top[2]};
  c.scaled = scale_of(c, z) != 0;
  return c;
}

/// Element j of dz: dy / s * (e_plus - e_minus) - dy * loss / s * (e_first - (e_third + e_fourth) / 2) with s
/// = scale. Each term is rounded to T as it is added.
template <class T>
constexpr T slope_of(const LogitChoice& c, int64_t j, double scale, double difference, double dy) {
  T d{0};
  const double unit = dy / scale, through_scale = unit * difference / scale;
  const auto add = [&](int64_t at, double value) {
    if (at == j) d = static_cast<T>(static_cast<double>(d) + value);
  };
  add(c.plus, unit);
  add(c.minus, -unit);
  if (!c.scaled) return d;
  add(c.first, -through_scale);
  add(c.third, 0.5 * through_scale);
  add(c.fourth, 0.5 * through_scale);
  return d;
}

}  // namespace hashgrad::cpu::functions
