// Dropout: masks are drawn, never read, so the kernel moves x and y and nothing else.
#include <cmath>

#include "core/random.h"
#include "cuda/divisor.h"
#include "cuda/dropout.h"
#include "cuda/elementwise.h"
#include "cuda/gpu.h"

namespace hashgrad::HASHGRAD_GPU {
namespace {

// One thread per four elements of a row, for which one block of the generator has the bits. A draw u = k /
// 2^24 is below p exactly where the integer k is below the limit p * 2^24, rounded up.
template <class T>
__global__ void dropout_kernel(int64_t n, int64_t width, LongDivisor quads, LongDivisor count, uint32_t limit,
                               T scale, uint64_t key, const int64_t* step, const int64_t* samples, const T* x,
                               T* y) {
  for (int64_t at = grid_rank(); at < n; at += grid_threads()) {
    const int64_t row = quads.quotient(at), quad = quads.remainder(at, row);
    const int64_t sample = samples[count.remainder(row, count.quotient(row))];
    const Random random(key, hashgrad::Stream::dropout, static_cast<uint64_t>(sample),
                        static_cast<uint32_t>(*step));
    const auto bits = random.block(static_cast<uint32_t>(quad));
    GPU_UNROLL
    for (int k = 0; k < 4; ++k) {
      const int64_t i = quad * 4 + k;
      if (i < width)
        y[row * width + i] = bits[static_cast<size_t>(k)] >> 8 < limit ? T{0} : x[row * width + i] * scale;
    }
  }
}

}  // namespace

template <class T>
void dropout(int64_t rows, int64_t width, double p, uint64_t key, const int64_t* step, int64_t count,
             const int64_t* samples, const T* x, T* y) {
  const int64_t quads = blocks_for(width, 4), n = rows * quads;
  const uint32_t limit = static_cast<uint32_t>(std::ceil(p * 0x1p24));
  if (n == 0) return;
  launch(dropout_kernel<T>, grid_for(n), block_size, 0, n, width, LongDivisor(quads), LongDivisor(count),
         limit, static_cast<T>(1 / (1 - p)), key, step, samples, x, y);
}

template void dropout(int64_t, int64_t, double, uint64_t, const int64_t*, int64_t, const int64_t*,
                      const float*, float*);
template void dropout(int64_t, int64_t, double, uint64_t, const int64_t*, int64_t, const int64_t*,
                      const double*, double*);

}  // namespace hashgrad::HASHGRAD_GPU
