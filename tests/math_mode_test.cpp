// Products of operands rounded to bf16: what is rounded, and what is not.
#include "core/math_mode.h"

#include <string>

#include "cpu/conv2d.h"
#include "cpu/gemm.h"
#include "tests/cpu_testing.h"

namespace {

using namespace hashgrad;
using namespace hashgrad::cpu_testing;
using cpu::Conv2dShape;

std::vector<float> rounded(std::vector<float> values) {
  for (float& v : values) v = rounded_to_bf16(v);
  return values;
}

template <class T>
std::vector<T> product(bool trans_a, bool trans_b, const std::vector<T>& a, const std::vector<T>& b,
                       const std::vector<T>& bias) {
  const int64_t m = 33, n = std::ssize(bias), k = std::ssize(a) / m;
  auto c = poisoned<T>(m * n);
  cpu::gemm(trans_a, trans_b, m, n, k, a.data(), trans_a ? m : k, b.data(), trans_b ? k : n, c.data(), n,
            {.column_bias = bias.data()});
  return c;
}

struct Convolution {
  std::vector<float> y, dx, dweight, dbias;
};

/// A fused convolution and its gradients; `output` decides where ReLU lets the gradient through.
Convolution convolution(const Conv2dShape& s, const std::vector<float>& x, const std::vector<float>& weight,
                        const std::vector<float>& bias, const std::vector<float>& dy,
                        const std::vector<float>& output) {
  Convolution c{poisoned<float>(std::ssize(dy)), poisoned<float>(std::ssize(x)),
                poisoned<float>(std::ssize(weight)), poisoned<float>(std::ssize(bias))};
  cpu::conv2d_forward(s, x.data(), weight.data(), bias.data(), true, c.y.data());
  cpu::conv2d_backward_input(s, weight.data(), {dy.data(), output.data()}, c.dx.data());
  cpu::conv2d_backward_weight(s, x.data(), {dy.data(), output.data()}, c.dweight.data(), c.dbias.data());
  return c;
}

}  // namespace

TEST_CASE("the nearest bf16: ties to even, beyond the largest infinity, NaN stays NaN") {
  const float step = 1.0f / 128;
  CHECK(rounded_to_bf16(1 + step) == 1 + step);
  CHECK(rounded_to_bf16(1 + 0.49f * step) == 1);
  CHECK(rounded_to_bf16(1 + step / 2) == 1);  // between an even and an odd one
  CHECK(rounded_to_bf16(1 + 3 * step / 2) == 1 + 2 * step);
  CHECK(rounded_to_bf16(-1 - 0.51f * step) == -1 - step);
  CHECK(rounded_to_bf16(std::numeric_limits<float>::max()) == INFINITY);
  CHECK(rounded_to_bf16(-INFINITY) == -INFINITY);
  CHECK(std::isnan(rounded_to_bf16(NAN)));
  CHECK(std::signbit(rounded_to_bf16(-0.0f)));
}

TEST_CASE("a matrix product in bf16 is that of rounded operands, with a bias as it is; doubles stay") {
  for_each_isa([&] {
    for (const int64_t n : {1, 3, 17, 129})
      for (const int64_t k : {1, 33, 129})
        for (const int layout : {0, 1, 2, 3}) {
          const bool ta = (layout & 1) != 0, tb = (layout & 2) != 0;
          const auto a = random_values<float>(33 * k, 1), b = random_values<float>(k * n, 2),
                     bias = random_values<float>(n, 3);
          const std::vector<double> a64(a.begin(), a.end()), b64(b.begin(), b.end()),
              bias64(bias.begin(), bias.end());
          const auto want = product(ta, tb, rounded(a), rounded(b), bias);
          const auto full = product(ta, tb, a, b, bias);
          const auto doubles = product(ta, tb, a64, b64, bias64);
          {
            const MathScope scope(Math::bf16);
            CHECK(same_bits(product(ta, tb, a, b, bias), want));
            CHECK(same_bits(product(ta, tb, a64, b64, bias64), doubles));
          }
          CHECK(same_bits(product(ta, tb, a, b, bias), full));
          CHECK_FALSE(same_bits(want, full));
        }
  });
}

TEST_CASE(
    "a convolution in bf16 is that of rounded operands in all directions, a bias and its gradient as they "
    "are") {
  // One channel and stride 2 go back by columns, the others as a convolution of their own.
  const Conv2dShape shapes[] = {
      {2, 1, 12, 9, 5, 3, 3, 1, 1}, {9, 6, 9, 13, 7, 3, 3, 1, 1}, {3, 17, 7, 7, 33, 3, 3, 2, 1}};
  for_each_isa([&] {
    for (const Conv2dShape& s : shapes) {
      CAPTURE(std::to_string(s.in_channels));
      const int64_t outputs = s.batch * s.out_channels * s.out_pixels();
      const auto x = random_values<float>(s.batch * s.in_channels * s.in_pixels(), 1),
                 weight = random_values<float>(s.out_channels * s.depth(), 2),
                 bias = random_values<float>(s.out_channels, 3), dy = random_values<float>(outputs, 4),
                 output = random_values<float>(outputs, 5);
      const Convolution want = convolution(s, rounded(x), rounded(weight), bias, rounded(dy), output);
      const Convolution full = convolution(s, x, weight, bias, dy, output);
      const MathScope scope(Math::bf16);
      const Convolution c = convolution(s, x, weight, bias, dy, output);
      CHECK(same_bits(c.y, want.y));
      CHECK(same_bits(c.dx, want.dx));
      CHECK(same_bits(c.dweight, want.dweight));
      CHECK(same_bits(c.dbias, full.dbias));
      CHECK_FALSE(same_bits(c.dweight, full.dweight));
    }
  });
}
