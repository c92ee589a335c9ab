#include "core/random.h"

#include <cmath>
#include <numbers>

namespace hashgrad {

double Random::normal() {
  const double u = 1.0 - uniform_double();  // (0, 1]: log is finite
  const double angle = 2 * std::numbers::pi * uniform_double();
  return std::sqrt(-2 * std::log(u)) * std::cos(angle);
}

}  // namespace hashgrad
