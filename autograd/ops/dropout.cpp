#include "autograd/ops/dropout.h"

#include <algorithm>

#include "autograd/op_info.h"
#include "core/parallel.h"
#include "core/random.h"

namespace hashgrad {
namespace {

/// The key of one layer's random numbers: the seed encrypted with the layer's place.
uint64_t layer_key(const RowKey& key) {
  const auto w = philox({key.layer, 0, 0, static_cast<uint32_t>(Stream::dropout)},
                        {static_cast<uint32_t>(key.seed), static_cast<uint32_t>(key.seed >> 32)});
  return uint64_t{w[1]} << 32 | w[0];
}

/// to = from * mask / (1 - p) for rows of `width` elements; row r uses the mask of samples[r % N].
template <class T>
void drop(const T* from, T* to, int64_t rows, int64_t width, double p, const RowKey& key) {
  const uint64_t seed = layer_key(key);
  const T scale = static_cast<T>(1 / (1 - p));
  const int64_t samples = static_cast<int64_t>(key.samples.size());
  const int64_t grain = std::max<int64_t>(1, 4096 / std::max<int64_t>(1, width));
  parallel_ranges(rows, grain, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t sample = key.samples[static_cast<size_t>(r % samples)];
      Random random(seed, Stream::dropout, static_cast<uint64_t>(sample), key.step);
      for (int64_t i = r * width; i < (r + 1) * width; ++i)
        to[i] = static_cast<double>(random.uniform()) < p ? T{0} : from[i] * scale;
    }
  });
}

Tensor drop(const Tensor& in, double p, const RowKey& key) {
  const Tensor x = in.contiguous();
  Tensor y = Tensor::empty(x.shape(), x.dtype());
  for_float_type(x.dtype(), "dropout", [&]<class T>() {
    drop(x.data<T>(), y.data<T>(), x.size(0), x.numel() / std::max<int64_t>(1, x.size(0)), p, key);
  });
  return y;
}

}  // namespace

Tensor Dropout::forward(Needs, const Tensor& x) const {
  check(p >= 0 && p < 1, "dropout: probability {}, [0, 1) expected", p);
  check(x.rank() >= 1 && static_cast<int64_t>(key.samples.size()) == x.size(0),
        "dropout: {} sample numbers for x of shape {}, one per row expected", key.samples.size(), x.shape());
  for (int64_t s : key.samples)
    check(s >= 0 && s < int64_t{1} << 48, "dropout: sample number {}, 0 to 2^48 expected", s);
  return drop(x, p, key);
}

Gradients<1> Dropout::backward(Needs, const Tensor& dy, int64_t) const { return {drop(dy, p, key)}; }

static const RegisterOp row({.name = "dropout",
                             .formula = "x * mask / (1 - p), mask a function of (seed, layer, step, sample)",
                             .call =
                                 [](auto& x) {
                                   RowKey key{7, 2, 3, {}};
                                   for (int64_t n = 0; n < x[0].size(0); ++n) key.samples.push_back(100 + n);
                                   return dropout(x[0], 0.4, key);
                                 },
                             .samples = {{{3, 17}}, {{33}}, {{129, 1}}, {{2, 3, 4}}, {{0, 3}}}});

}  // namespace hashgrad
