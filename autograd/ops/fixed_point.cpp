#include "autograd/ops/fixed_point.h"

#include <algorithm>
#include <cmath>

#include "autograd/op_info.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/pointwise.h"
#include "cuda/pointwise.h"

namespace hashgrad {

double FixedPointFormat::step() const { return std::ldexp(1.0, point - width); }

int64_t FixedPointFormat::lowest_code() const { return -(int64_t{1} << (width - 1)); }

int64_t FixedPointFormat::highest_code(DType dtype) const {
  const int fraction_bits = dtype == DType::float32 ? 24 : 53;
  const int unused = std::max(0, width - 1 - fraction_bits);
  return (int64_t{1} << (width - 1)) - (int64_t{1} << unused);
}

void check_format(const FixedPointFormat& format, const std::string& what) {
  check(format.width >= 2 && format.width <= 32, "{}: width {}, 2 to 32 bits are accepted", what,
        format.width);
  check(format.point >= 1 && format.point <= format.width,
        "{}: point {}, 1 to the width of {} are accepted (bits before the binary point, with the sign)", what,
        format.point, format.width);
}

Tensor FixedPoint::forward(Needs needs, const Tensor& in) {
  check_format(format, name);
  const Tensor codes = round(in / format.step());
  if (needs.any()) rounded = codes;
  const auto low = static_cast<double>(format.lowest_code());
  return clamp(codes, low, static_cast<double>(format.highest_code(in.dtype()))) * format.step();
}

/// dx = dy where the rounded number is a code, else 0.
Gradients<1> FixedPoint::backward(Needs, const Tensor& dy_in, int64_t copies) const {
  const Tensor dy = dy_in.contiguous();
  Tensor dx = Tensor::empty(stacked(rounded.shape(), copies), rounded.dtype(), rounded.device());
  for_float_type(rounded.dtype(), name, [&]<class T>() {
    HASHGRAD_ON(rounded.device(), clamp_backward(rounded.numel(), static_cast<T>(format.lowest_code()),
                                                 static_cast<T>(format.highest_code(rounded.dtype())),
                                                 rounded.data<T>(), dy.data<T>(), dx.data<T>(), copies));
  });
  return {dx};
}

namespace {

const RegisterOp row({.name = FixedPoint::name,
                      .formula = "clip(round(x / s), -2^(W-1), 2^(W-1) - 1) s, s = 2^(P-W), halves to even",
                      .call = [](auto& x) { return fixed_point(x[0], {.width = 4, .point = 1}); },
                      .samples = {{{3, 17}}, {{}}, {{33}}, {{0}}},
                      .no_gradient = "a staircase; backward passes straight through it"});

}  // namespace
}  // namespace hashgrad
