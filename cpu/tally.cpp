#include "cpu/tally.h"

#include <cmath>

namespace hashgrad::cpu {

template <class T>
void add_step(int64_t rows, const T* mean_loss, const int64_t* predicted, const int64_t* labels,
              const int64_t* step, Tally* tally) {
  const double loss = static_cast<double>(*mean_loss);
  tally->loss += loss * static_cast<double>(rows);
  for (int64_t row = 0; row < rows; ++row) tally->correct += predicted[row] == labels[row];
  if (std::isfinite(loss) || tally->bad_step >= 0) return;
  tally->bad_step = *step;
  tally->bad_loss = loss;
}

template void add_step(int64_t, const float*, const int64_t*, const int64_t*, const int64_t*, Tally*);
template void add_step(int64_t, const double*, const int64_t*, const int64_t*, const int64_t*, Tally*);

}  // namespace hashgrad::cpu
