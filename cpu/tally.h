// What training counts from step to step, in the memory of the engine: nobody has to wait for a step to add
// it up.
#pragma once

#include <cstdint>

namespace hashgrad::cpu {

struct Tally {
  double loss = 0;        ///< sum over samples
  int64_t correct = 0;    ///< samples whose predicted class was their label
  int64_t bad_step = -1;  ///< the first step whose loss was not finite; -1: none
  double bad_loss = 0;    ///< that loss
};

/// Adds step number *step, of `rows` samples with the mean loss *mean_loss; predicted and labels [rows].
template <class T>
void add_step(int64_t rows, const T* mean_loss, const int64_t* predicted, const int64_t* labels,
              const int64_t* step, Tally* tally);

}  // namespace hashgrad::cpu
