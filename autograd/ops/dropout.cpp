#include "autograd/ops/dropout.h"

#include <algorithm>

#include "autograd/op_info.h"
#include "core/random.h"
#include "cuda/dropout.h"

namespace hashgrad {
namespace {

/// The key of one layer's random numbers: the seed encrypted with the layer's place.
uint64_t layer_key(const RowKey& key) {
  const auto w = philox({key.layer, 0, 0, static_cast<uint32_t>(Stream::dropout)},
                        {static_cast<uint32_t>(key.seed), static_cast<uint32_t>(key.seed >> 32)});
  return uint64_t{w[1]} << 32 | w[0];
}

/// x * mask / (1 - p); rows repeat the samples, whose numbers are on x's device.
Tensor drop(const Tensor& in, double p, const RowKey& key, const Tensor& samples) {
  const Tensor x = in.contiguous();
  Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
  const int64_t rows = x.size(0), width = x.numel() / std::max<int64_t>(1, rows);
  for_float_type(x.dtype(), "dropout", [&]<class T>() {
    HASHGRAD_ON(x.device(), dropout(rows, width, p, layer_key(key), key.step, samples.numel(),
                                    samples.data<int64_t>(), x.data<T>(), y.data<T>()));
  });
  return y;
}

}  // namespace

Tensor Dropout::forward(Needs, const Tensor& x) {
  check(p >= 0 && p < 1, "dropout: probability {}, [0, 1) expected", p);
  const int64_t count = static_cast<int64_t>(key.samples.size());
  check(x.rank() >= 1 && count == x.size(0), "dropout: {} sample numbers for x of shape {}, one per row expected",
        count, x.shape());
  for (int64_t s : key.samples)
    check(s >= 0 && s < int64_t{1} << 48, "dropout: sample number {}, 0 to 2^48 expected", s);
  samples = Tensor::of(key.samples, {count}).to(x.device());
  return drop(x, p, key, samples);
}

Gradients<1> Dropout::backward(Needs, const Tensor& dy, int64_t) const { return {drop(dy, p, key, samples)}; }

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
