#include <cmath>

#include "cuda/gpu.h"
#include "cuda/tally.h"
#include "cuda/team.h"

namespace hashgrad::HASHGRAD_GPU {
namespace {

// One block: there are no more rows than in a batch.
template <class T>
__global__ void add_step_kernel(int64_t rows, const T* mean_loss, const int64_t* predicted,
                                const int64_t* labels, const int64_t* step, cpu::Tally* tally) {
  int64_t correct = 0;
  for (int64_t row = threadIdx.x; row < rows; row += blockDim.x) correct += predicted[row] == labels[row];
  correct = block_reduce(correct, int64_t{0}, Plus{});
  if (threadIdx.x != 0) return;
  const double loss = static_cast<double>(*mean_loss);
  tally->loss += loss * static_cast<double>(rows);
  tally->correct += correct;
  if (std::isfinite(loss) || tally->bad_step >= 0) return;
  tally->bad_step = *step;
  tally->bad_loss = loss;
}

}  // namespace

template <class T>
void add_step(int64_t rows, const T* mean_loss, const int64_t* predicted, const int64_t* labels,
              const int64_t* step, cpu::Tally* tally) {
  launch(add_step_kernel<T>, 1, block_size, 0, rows, mean_loss, predicted, labels, step, tally);
}

template void add_step(int64_t, const float*, const int64_t*, const int64_t*, const int64_t*, cpu::Tally*);
template void add_step(int64_t, const double*, const int64_t*, const int64_t*, const int64_t*, cpu::Tally*);

}  // namespace hashgrad::HASHGRAD_GPU
