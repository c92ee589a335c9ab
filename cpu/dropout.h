// Dropout whose mask is a function of the sample, not of the batch; it is never stored, backward draws it
// again.
#pragma once

#include <cstdint>

namespace hashgrad::cpu {

/// y [rows, width] = x * mask / (1 - p), p in [0, 1). Row r has the mask of sample samples[r % count]: its
/// element i is dropped where draw i of Random(key, Stream::dropout, sample, *step) is below p. Works on a
/// gradient as on its x.
template <class T>
void dropout(int64_t rows, int64_t width, double p, uint64_t key, const int64_t* step, int64_t count,
             const int64_t* samples, const T* x, T* y);

}  // namespace hashgrad::cpu
