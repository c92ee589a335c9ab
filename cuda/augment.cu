#include "cuda/augment.h"
#include "cuda/divisor.h"
#include "cuda/elementwise.h"
#include "cuda/gpu.h"

namespace hashgrad::HASHGRAD_GPU {
namespace {

// One block per image: all its threads make the same draws, then each moves every 256th element.
template <class T>
__global__ void augment_kernel(Augmentation augmentation, uint64_t seed, const int64_t* epoch, int64_t batch,
                               const int64_t* samples, int64_t channels, int64_t height, int64_t width,
                               LongDivisor heights, LongDivisor widths, const T* images, T* out) {
  const int64_t elements = channels * height * width;
  for (int64_t n = blockIdx.x; n < batch; n += gridDim.x) {
    const Move move(augmentation, seed, *epoch, samples[n]);
    const Tint tint(augmentation, seed, *epoch, samples[n]);
    const T* image = images + n * elements;
    for (int64_t i = threadIdx.x; i < elements; i += blockDim.x) {
      const int64_t line = widths.quotient(i), column = widths.remainder(i, line);
      const int64_t channel = heights.quotient(line), row = heights.remainder(line, channel);
      const int64_t source = move.source(height, width, row, column);
      out[n * elements + i] = source < 0 ? T{0} : tint(image, channels, height * width, channel, source);
    }
  }
}

}  // namespace

template <class T>
void augment(const Augmentation& augmentation, uint64_t seed, const int64_t* epoch, int64_t batch,
             const int64_t* samples, int64_t channels, int64_t height, int64_t width, const T* images,
             T* out) {
  if (batch * channels * height * width == 0) return;
  launch(augment_kernel<T>, grid_for(batch, 1), block_size, 0, augmentation, seed, epoch, batch, samples,
         channels, height, width, LongDivisor(height), LongDivisor(width), images, out);
}

template void augment(const Augmentation&, uint64_t, const int64_t*, int64_t, const int64_t*, int64_t,
                      int64_t, int64_t, const float*, float*);
template void augment(const Augmentation&, uint64_t, const int64_t*, int64_t, const int64_t*, int64_t,
                      int64_t, int64_t, const double*, double*);

}  // namespace hashgrad::HASHGRAD_GPU
