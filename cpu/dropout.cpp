#include "cpu/dropout.h"

#include "core/random.h"
#include "cpu/for_rows.h"

namespace hashgrad::cpu {

template <class T>
void dropout(int64_t rows, int64_t width, double p, uint64_t key, const int64_t* step, int64_t count,
             const int64_t* samples, const T* x, T* y) {
  const T scale = static_cast<T>(1 / (1 - p));
  for_rows(rows, width, 4096, [&](int64_t r) {
    Random random(key, Stream::dropout, static_cast<uint64_t>(samples[r % count]),
                  static_cast<uint32_t>(*step));
    for (int64_t i = r * width; i < (r + 1) * width; ++i)
      y[i] = static_cast<double>(random.uniform()) < p ? T{0} : x[i] * scale;
  });
}

template void dropout(int64_t, int64_t, double, uint64_t, const int64_t*, int64_t, const int64_t*,
                      const float*, float*);
template void dropout(int64_t, int64_t, double, uint64_t, const int64_t*, int64_t, const int64_t*,
                      const double*, double*);

}  // namespace hashgrad::cpu
