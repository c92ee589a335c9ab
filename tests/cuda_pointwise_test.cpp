#include "cuda/pointwise.h"
#include "tests/cuda_testing.h"

using namespace hashgrad;
using namespace hashgrad::cuda_testing;
using cpu::Binary;
using cpu::Unary;

namespace {

const Unary all_unary[] = {
#define X(name) Unary::name,
    HASHGRAD_UNARY(X)
#undef X
};
const Binary all_binary[] = {
#define X(name) Binary::name,
    HASHGRAD_BINARY(X)
#undef X
};

/// The libraries of CPU and GPU are each a few units in the last place off the true value.
template <class T>
constexpr double few_ulps = 8 * epsilon<T>;

}  // namespace

TEST_CASE_TEMPLATE("cuda: every unary function and its derivative is that of the CPU", T, float, double) {
  for (const Device device : other_devices())
    for (const Unary op : all_unary)
      for (const int64_t n : edges) {
        CAPTURE(static_cast<int>(op));
        CAPTURE(n);
        const bool positive = op == Unary::log || op == Unary::sqrt;
        const Tensor x = values<T>({n}, 1, positive ? 0.1 : -4, 4);
        CHECK(error_of<T>(device, n, [&](Device d, T* y) {
                const Tensor in = x.to(d);
                HASHGRAD_ON(d, unary(op, n, in.data<T>(), y));
              }) <= few_ulps<T>);
        if (n > 129) continue;
        for (const int64_t copies : {1, 3}) {
          const Tensor dy = values<T>({copies * n}, 2);
          Tensor y = Tensor::empty({n}, dtype_of<T>);
          cpu::unary(op, n, x.data<T>(), y.data<T>());
          CHECK(error_of<T>(device, copies * n, [&](Device d, T* dx) {
                  const Tensor in = x.to(d), out = y.to(d), g = dy.to(d);
                  HASHGRAD_ON(d, unary_backward(op, n, in.data<T>(), out.data<T>(), g.data<T>(), dx, copies));
                }) <= few_ulps<T>);
        }
      }
}

TEST_CASE_TEMPLATE("cuda: NaN, infinities and denormals take the same way through every function", T, float,
                   double) {
  const int64_t n = 99;
  const Tensor x = awkward_values<T>({n}, 1), b = awkward_values<T>({n}, 2).slice(0, 2, n);
  for (const Device device : other_devices()) {
    for (const Unary op : all_unary) {
      if (op == Unary::sin || op == Unary::cos)
        continue;  // of 1e38: each library reduces the angle as well as it can
      CAPTURE(static_cast<int>(op));
      CHECK(error_of<T>(
                device, n,
                [&](Device d, T* y) {
                  const Tensor in = x.to(d);
                  HASHGRAD_ON(d, unary(op, n, in.data<T>(), y));
                },
                static_cast<double>(std::numeric_limits<T>::min())) <= few_ulps<T>);
    }
    for (const Binary op : all_binary) {
      CAPTURE(static_cast<int>(op));
      CHECK(error_of<T>(
                device, n - 2,
                [&](Device d, T* y) {
                  const Tensor left = x.to(d), right = b.to(d);
                  HASHGRAD_ON(d, binary(op, n - 2, left.data<T>(), right.data<T>(), y));
                },
                static_cast<double>(std::numeric_limits<T>::min())) <= few_ulps<T>);
    }
  }
}

TEST_CASE_TEMPLATE("cuda: binary functions broadcast along any axes", T, float, double) {
  const cpu::Axes cases[] = {
      {0, {}, {}, {}},
      {1, {129}, {1}, {1}},
      {1, {129}, {0}, {1}},
      {2, {17, 33}, {33, 1}, {0, 1}},
      {2, {33, 17}, {0, 1}, {1, 0}},
      {3, {3, 5, 33}, {165, 33, 1}, {0, 1, 0}},
      {4, {2, 3, 17, 5}, {0, 5, 0, 1}, {255, 85, 5, 1}},
      {4, {2, 3, 17, 5}, {7, 0, 3, 0}, {0, 85, 5, 1}},
      {8, {2, 3, 2, 1, 3, 2, 5, 2}, {60, 0, 120, 0, 20, 0, 2, 1}, {0, 12, 0, 36, 4, 2, 1, 0}},
      {2, {0, 3}, {3, 1}, {0, 1}},
  };
  const Tensor a = values<T>({2000}, 1, 0.1, 2), b = values<T>({2000}, 2, 0.1, 2);
  for (const Device device : other_devices())
    for (const cpu::Axes& axes : cases)
      for (const Binary op : all_binary) {
        CAPTURE(axes.count);
        CAPTURE(static_cast<int>(op));
        int64_t n = 1;
        for (int i = 0; i < axes.count; ++i) n *= axes.size[i];
        const double error = error_of<T>(device, n, [&](Device d, T* y) {
          const Tensor left = a.to(d), right = b.to(d);
          HASHGRAD_ON(d, binary(op, axes, left.data<T>(), right.data<T>(), y));
        });
        CHECK(error <= (op == Binary::pow ? few_ulps<T> : 0));
      }
}

TEST_CASE_TEMPLATE("cuda: axpy, scale, clamp and their kind", T, float, double) {
  const T low = static_cast<T>(-0.5), high = static_cast<T>(0.75), alpha = static_cast<T>(1.7);
  for (const Device device : other_devices())
    for (const int64_t n : edges) {
      CAPTURE(n);
      Tensor x = awkward_values<T>({n}, 1);
      for (int64_t i = 0; i < n; i += 5)
        x.data<T>()[i] = i % 2 == 0 ? low : high;  // where the gradient still passes
      const Tensor y0 = values<T>({n}, 2), dy = awkward_values<T>({3 * n}, 3);
      const auto error = [&](auto call, int64_t count) {
        return error_of<T>(device, count, [&](Device d, T* y) {
          const Tensor in = x.to(d), other = y0.to(d), g = dy.to(d);
          call(d, in.data<T>(), other.data<T>(), g.data<T>(), y);
        });
      };
      // A GPU multiplies and adds in one rounding.
      CHECK(error(
                [&](Device d, const T*, const T* other, const T* g, T* y) {
                  HASHGRAD_ON(d, scale(n, T{1}, other, y));
                  HASHGRAD_ON(d, axpy(n, alpha, g, y));
                },
                n) <= 2 * epsilon<T>);
      CHECK(error([&](Device d, const T* in, const T*, const T*,
                      T* y) { HASHGRAD_ON(d, scale(n, alpha, in, y)); },
                  n) == 0);
      CHECK(error([&](Device d, const T* in, const T*, const T*,
                      T* y) { HASHGRAD_ON(d, clamp(n, low, high, in, y)); },
                  n) == 0);
      CHECK(error([&](Device d, const T* in, const T*, const T* g,
                      T* y) { HASHGRAD_ON(d, clamp_backward(n, low, high, in, g, y, 3)); },
                  3 * n) == 0);
    }
}
