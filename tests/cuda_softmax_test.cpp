#include "cuda/softmax.h"
#include "tests/cuda_testing.h"
#include "tests/error_of.h"

using namespace hashgrad;
using namespace hashgrad::cuda_testing;

namespace {

/// exp of CPU and GPU are each two units in the last place off, sums are made in other orders, and the
/// derivatives subtract numbers of size 1.
template <class T>
constexpr double few_ulps = 16 * epsilon<T>;

/// The four functions as f(device, rows, columns, x, y); the backward ones see x as the result and as its
/// gradient.
template <class T, class F>
void for_each_function(const F& f) {
  f("softmax", [](Device d, int64_t rows, int64_t columns, const T* x, T* y) {
    HASHGRAD_ON(d, softmax(rows, columns, x, y));
  });
  f("log_softmax", [](Device d, int64_t rows, int64_t columns, const T* x, T* y) {
    HASHGRAD_ON(d, log_softmax(rows, columns, x, y));
  });
  f("softmax_backward", [](Device d, int64_t rows, int64_t columns, const T* x, T* y) {
    HASHGRAD_ON(d, softmax_backward(rows, columns, x, x, y));
  });
  f("log_softmax_backward", [](Device d, int64_t rows, int64_t columns, const T* x, T* y) {
    HASHGRAD_ON(d, log_softmax_backward(rows, columns, x, x, y));
  });
}

}  // namespace

TEST_CASE_TEMPLATE("cuda: softmax, log-softmax and their gradients", T, float, double) {
  for (const Device device : other_devices())
    for (const int64_t columns : {1, 3, 10, 17, 33, 129, 1024, 1025, 3000})
      for (const int64_t rows : {0, 1, 17})
        for_each_function<T>([&](const char* name, auto function) {
          CAPTURE(name);
          CAPTURE(columns);
          const Tensor x = values<T>({rows, columns}, 1, -4, 0);
          CHECK(error_of<T>(device, rows * columns, [&](Device d, T* y) {
                  const Tensor in = x.to(d);
                  function(d, rows, columns, in.data<T>(), y);
                }) <= few_ulps<T> * (columns > 1000 ? 4 : 1));
          if (rows > 1 && columns < 2000)
            CHECK(rows_stand_alone<T>(device, x, columns, [&](Device d, int64_t some, const T* in, T* y) {
              function(d, some, columns, in, y);
            }));
        });
}

TEST_CASE_TEMPLATE("cuda: softmax gradients of several cotangents share one result", T, float, double) {
  const int64_t rows = 5, columns = 33, copies = 3, n = rows * columns;
  const Tensor y = values<T>({n}, 1, 0, 0.1), dy = values<T>({copies * n}, 2);
  for (const Device device : other_devices()) {
    CHECK(error_of<T>(device, copies * n, [&](Device d, T* dx) {
            const Tensor out = y.to(d), g = dy.to(d);
            HASHGRAD_ON(d, softmax_backward(rows, columns, out.data<T>(), g.data<T>(), dx, copies));
          }) <= few_ulps<T>);
    CHECK(error_of<T>(device, copies * n, [&](Device d, T* dx) {
            const Tensor out = y.to(d), g = dy.to(d);
            HASHGRAD_ON(d, log_softmax_backward(rows, columns, out.data<T>(), g.data<T>(), dx, copies));
          }) <= few_ulps<T>);
  }
}

TEST_CASE_TEMPLATE("cuda: softmax keeps denormals, works in place, and a NaN stays in its row", T, float,
                   double) {
  const int64_t rows = 11, columns = 33, n = rows * columns;
  Tensor x = values<T>({rows, columns}, 1);
  const T gap = sizeof(T) == 4 ? T{100} : T{740};
  for (int64_t i = 0; i < columns; ++i) x.data<T>()[i] = i == 3 ? gap : T{0};
  x.data<T>()[5 * columns + 2] = std::numeric_limits<T>::quiet_NaN();
  x.data<T>()[7 * columns + 9] = std::numeric_limits<T>::infinity();
  x.data<T>()[8 * columns + 9] = -std::numeric_limits<T>::infinity();
  for (const Device device : other_devices()) {
    const auto in_place = [&](Device d, T* y) {
      const Tensor in = x.to(d);
      HASHGRAD_ON(d, log_softmax(rows, columns, in.data<T>(), y));
      HASHGRAD_ON(d, softmax(rows, columns, y, y));
    };
    CHECK(error_of<T>(device, n, in_place) <= few_ulps<T>);
    const std::vector<T> y = output_of<T>(device, n, [&](Device d, T* out) {
      const Tensor in = x.to(d);
      HASHGRAD_ON(d, softmax(rows, columns, in.data<T>(), out));
    });
    CHECK(y[0] > 0);
    CHECK(y[0] < std::numeric_limits<T>::min());
    CHECK(static_cast<double>(y[0]) == doctest::Approx(std::exp(-static_cast<double>(gap))).epsilon(0.1));
    CHECK(std::isnan(y[5 * columns]));
    CHECK(std::isfinite(y[4 * columns]));
    CHECK_ERROR([&] { HASHGRAD_ON(device, softmax<T>(1, 0, nullptr, nullptr)); }(),
                "softmax: rows of 0 elements");
  }
}
