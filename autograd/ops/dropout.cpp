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

/// `counts` int64 [count] on `device`; an Error where they are not that, or where they are on the CPU and not
/// in [0, limit).
Tensor checked(const char* what, const Tensor& counts, int64_t count, int64_t limit, Device device) {
  check(counts.defined() && counts.dtype() == DType::int64 && counts.shape() == Shape{count},
        "dropout: {} is {} {}, int64 [{}] expected", what, name_of(counts.dtype()), counts.shape(), count);
  if (counts.device() == Device{})
    for (const int64_t i : counts.to_vector<int64_t>())
      check(i >= 0 && i < limit, "dropout: {} {}, 0 to {} expected", what, i, limit - 1);
  return counts.to(device).contiguous();
}

/// x * mask / (1 - p); rows repeat the samples. What the key holds is on x's device.
Tensor drop(const Tensor& in, double p, const RowKey& key) {
  const Tensor x = in.contiguous();
  Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
  const int64_t rows = x.size(0), width = x.numel() / std::max<int64_t>(1, rows);
  for_float_type(x.dtype(), "dropout", [&]<class T>() {
    HASHGRAD_ON(x.device(),
                dropout(rows, width, p, layer_key(key), key.step.data<int64_t>(), key.samples.numel(),
                        key.samples.data<int64_t>(), x.data<T>(), y.data<T>()));
  });
  return y;
}

}  // namespace

Tensor Dropout::forward(Needs, const Tensor& x) {
  check(p >= 0 && p < 1, "dropout: probability {}, [0, 1) expected", p);
  check(x.rank() >= 1, "dropout: x of shape {}, [N,...] expected", x.shape());
  key.step = checked("step", key.step, 1, int64_t{1} << 32, x.device());
  key.samples = checked("sample number", key.samples, x.size(0), int64_t{1} << 48, x.device());
  return drop(x, p, key);
}

Gradients<1> Dropout::backward(Needs, const Tensor& dy, int64_t) const { return {drop(dy, p, key)}; }

static const RegisterOp row({.name = "dropout",
                             .formula = "x * mask / (1 - p), mask a function of (seed, layer, step, sample)",
                             .call =
                                 [](auto& x) {
                                   std::vector<int64_t> numbers;
                                   for (int64_t n = 0; n < x[0].size(0); ++n) numbers.push_back(100 + n);
                                   return dropout(x[0], 0.4,
                                                  {7, 2, Tensor::of<int64_t>({3}, {1}),
                                                   Tensor::of(numbers, {x[0].size(0)})});
                                 },
                             .samples = {{{3, 17}}, {{33}}, {{129, 1}}, {{2, 3, 4}}, {{0, 3}}}});

}  // namespace hashgrad
