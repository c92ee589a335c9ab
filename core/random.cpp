#include "core/random.h"

#include "core/normal.h"

namespace hashgrad {

double Random::normal() {
  const double u = uniform_double(), v = uniform_double();
  return normal_from(u, v);
}

}  // namespace hashgrad
