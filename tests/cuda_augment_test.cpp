#include "cuda/augment.h"
#include "tests/cuda_testing.h"

using namespace hashgrad;
using namespace hashgrad::cuda_testing;

TEST_CASE_TEMPLATE("cuda: augmentation has the same bits as on the CPU", T, float, double) {
  struct Images {
    int64_t batch, channels, height, width;
  };
  const Tensor epoch = Tensor::of<int64_t>({7}, {1});
  for (const Device device : other_devices())
    for (const Images& s : {Images{3, 1, 1, 1}, {5, 2, 3, 5}, {5, 3, 4, 4}, {2, 3, 17, 9}, {0, 1, 4, 4}})
      for (const Augmentation& augmentation : {Augmentation{1, false},
                                               {0, true},
                                               {3, true},
                                               {64, true},
                                               {0, false, 2},
                                               {2, true, 8},
                                               {0, false, 0, 0.4},
                                               {1, true, 4, 1}}) {
        CAPTURE(to_string(augmentation));
        CAPTURE(s.height);
        const int64_t n = s.batch * s.channels * s.height * s.width;
        const Tensor x = awkward_values<T>({n}, 1);
        std::vector<int64_t> numbers;
        for (int64_t i = 0; i < s.batch; ++i) numbers.push_back(i * ((int64_t{1} << 40) + 11));
        const Tensor samples = Tensor::of(numbers, {s.batch});
        CHECK(error_of<T>(device, n, [&](Device d, T* out) {
                const Tensor in = x.to(d), ids = samples.to(d), at = epoch.to(d);
                HASHGRAD_ON(d,
                            augment(augmentation, uint64_t{0x123456789abcdef0}, at.data<int64_t>(), s.batch,
                                    ids.data<int64_t>(), s.channels, s.height, s.width, in.data<T>(), out));
              }) == 0);
      }
}
