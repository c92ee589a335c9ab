#include "cpu/relu_mask.h"

#include <algorithm>

#include "core/parallel.h"
#include "cpu/channel_kernels.h"

namespace hashgrad::cpu {

template <class T>
void make_relu_mask(int64_t n, const T* y, bool nan_passes, uint8_t* mask) {
  constexpr int64_t grain = 64 * 1024;  // whole bytes
  parallel_ranges(n, grain, [&](int64_t begin, int64_t end) {
    channel_kernels().of<T>().mark(end - begin, y + begin, nan_passes, mask + begin / 8);
  });
  std::fill(mask + (n + 7) / 8, mask + relu_mask_bytes(n), uint8_t{0});
}

template void make_relu_mask(int64_t, const float*, bool, uint8_t*);
template void make_relu_mask(int64_t, const double*, bool, uint8_t*);

}  // namespace hashgrad::cpu
