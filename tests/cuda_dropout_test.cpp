#include "cuda/dropout.h"
#include "tests/cuda_testing.h"

using namespace hashgrad;
using namespace hashgrad::cuda_testing;

TEST_CASE_TEMPLATE("cuda: dropout has the same bits as on the CPU, whatever the batch", T, float, double) {
  for (const Device device : other_devices())
    for (const int64_t width : edges)
      for (const double p : {0.0, 0.25, 0.3, 1 - 0x1p-26}) {  // the last drops everything
        CAPTURE(width);
        CAPTURE(p);
        const int64_t rows = 6, count = 3;
        const Tensor samples = Tensor::of<int64_t>({5, (int64_t{1} << 48) - 1, 0}, {count});
        const Tensor step = Tensor::of<int64_t>({77}, {1});
        const Tensor x = awkward_values<T>({rows, width}, 1);
        const auto drop = [&](Device d, T* y) {
          const Tensor in = x.to(d), ids = samples.to(d), at = step.to(d);
          HASHGRAD_ON(d, dropout(rows, width, p, uint64_t{0x123456789abcdef0}, at.data<int64_t>(), count,
                                 ids.data<int64_t>(), in.data<T>(), y));
        };
        CHECK(error_of<T>(device, rows * width, drop) == 0);
      }
}

TEST_CASE("cuda: a draw is dropped where it is below the probability, not where it is equal") {
  const Tensor x = Tensor::full({1, 40}, 1), samples = Tensor::zeros({1}, DType::int64);
  const Tensor step = Tensor::of<int64_t>({1}, {1});
  for (const Device device : other_devices()) {
    Random random(7, Stream::dropout, 0, 1);
    for (int64_t i = 0; i < 40; ++i) {
      const double draw = static_cast<double>(random.uniform());
      for (const double p : {draw, draw + 0x1p-26}) {
        const auto drop = [&](Device d, float* y) {
          const Tensor in = x.to(d), ids = samples.to(d), at = step.to(d);
          HASHGRAD_ON(d, dropout(1, 40, p, uint64_t{7}, at.data<int64_t>(), 1, ids.data<int64_t>(),
                                 in.data<float>(), y));
        };
        CHECK(error_of<float>(device, 40, drop) == 0);
        CHECK((output_of<float>(device, 40, drop)[static_cast<size_t>(i)] == 0) == (p > draw));
      }
    }
  }
}

TEST_CASE("a sequence of random numbers can be read block by block") {
  Random random(7, Stream::test, 5, 3);
  const Random other = random;
  for (uint32_t i = 0; i < 100; ++i) CHECK(random.bits() == other.block(i / 4)[i % 4]);
}
