#include "cuda/reduce.h"
#include "tests/cuda_testing.h"

using namespace hashgrad;
using namespace hashgrad::cuda_testing;

namespace {

/// Rows of all kinds: a warp's, a block's, and those that are cut into pieces (twice).
const std::vector<int64_t> lengths{0, 1, 3, 17, 33, 129, 1025, 8193, 20000};

/// Both sides add in double, in different orders, and round once: two neighbours of the element type at most.
template <class T>
constexpr double one_rounding = 2 * epsilon<T>;

/// Double has no wider type to add in. Each of n additions is rounded at the size of the sum so far, about
/// sqrt(n), in either direction.
template <class T>
double sum_tolerance(int64_t n) {
  return sizeof(T) == 4 ? one_rounding<T> : epsilon<T> * std::max(4.0, static_cast<double>(n));
}

}  // namespace

TEST_CASE_TEMPLATE("cuda: sums and products of rows", T, float, double) {
  for (const Device device : other_devices())
    for (const int64_t columns : lengths) {
      CAPTURE(columns);
      const int64_t rows = columns > 1000 ? 2 : 33;
      const Tensor a = values<T>({rows, columns}, 1), b = values<T>({rows, columns}, 2);
      const double tolerance = sum_tolerance<T>(columns);
      CHECK(error_of<T>(device, 1, [&](Device d, T* y) {
              const Tensor x = a.to(d);
              HASHGRAD_ON(d, sum(columns, x.data<T>(), y));
            }) <= tolerance);
      CHECK(error_of<T>(device, rows, [&](Device d, T* y) {
              const Tensor x = a.to(d);
              HASHGRAD_ON(d, sum_rows(rows, columns, x.data<T>(), y));
            }) <= tolerance);
      CHECK(error_of<T>(device, rows, [&](Device d, T* y) {
              const Tensor x = a.to(d), z = b.to(d);
              HASHGRAD_ON(d, dot_rows(rows, columns, x.data<T>(), z.data<T>(), y));
            }) <= tolerance);
      if (columns > 0)
        CHECK(rows_stand_alone<T>(device, a, 1, [&](Device d, int64_t some, const T* x, T* y) {
          HASHGRAD_ON(d, sum_rows(some, columns, x, y));
        }));
    }
}

TEST_CASE("cuda: a block adds up one long row after another") {
  const int64_t rows = 70, columns = 1025;  // the emulator has 64 blocks for them
  const Tensor a = values<float>({rows, columns}, 1);
  for (const Device device : other_devices())
    CHECK(error_of<float>(device, rows, [&](Device d, float* y) {
            const Tensor x = a.to(d);
            HASHGRAD_ON(d, sum_rows(rows, columns, x.data<float>(), y));
          }) <= one_rounding<float>);
}

TEST_CASE_TEMPLATE("cuda: sums of columns and channels", T, float, double) {
  for (const Device device : other_devices()) {
    for (const int64_t rows : {0, 1, 3, 17, 129, 513, 1100})
      for (const int64_t columns : {1, 10, 33, 70, 2100}) {  // 2100: more strips than the emulator has blocks
        if (columns > 70 && rows > 3) continue;
        CAPTURE(rows);
        CAPTURE(columns);
        const Tensor a = values<T>({rows, columns}, 1);
        CHECK(error_of<T>(device, columns, [&](Device d, T* y) {
                const Tensor x = a.to(d);
                HASHGRAD_ON(d, sum_columns(rows, columns, x.data<T>(), y));
              }) <= sum_tolerance<T>(rows));
      }
    for (const Shape& shape :
         {Shape{3, 17, 33}, Shape{0, 3, 4}, Shape{1, 1, 1}, Shape{33, 3, 129}, Shape{5, 2, 2000}}) {
      CAPTURE(to_string(shape));
      const Tensor a = values<T>(shape, 1);
      CHECK(error_of<T>(device, shape[1], [&](Device d, T* y) {
              const Tensor x = a.to(d);
              HASHGRAD_ON(d, sum_channels(shape[0], shape[1], shape[2], x.data<T>(), y));
            }) <= sum_tolerance<T>(shape[0] * shape[2]));
    }
  }
}

TEST_CASE_TEMPLATE("cuda: any axes are summed over, for any number of copies", T, float, double) {
  const std::vector<int64_t> sizes{3, 5, 2, 7, 3, 2, 4, 3};
  for (const Device device : other_devices())
    for (int count = 0; count <= 8; ++count)
      for (const bool first : {false, true})
        for (const int64_t copies : {1, 3}) {
          CAPTURE(count);
          CAPTURE(first);
          cpu::Groups groups{count, {}, {}};
          int64_t in = copies, out = copies;
          for (int i = 0; i < count; ++i) {
            groups.size[i] = sizes[static_cast<size_t>(i)];
            groups.summed[i] = (i % 2 == 0) == first;
            in *= groups.size[i];
            if (!groups.summed[i]) out *= groups.size[i];
          }
          const Tensor a = values<T>({in}, 1, -1, 1);
          // The CPU rounds to the element type between axes, so sums near zero differ by that.
          CHECK(error_of<T>(device, out, [&](Device d, T* y) {
                  const Tensor x = a.to(d);
                  HASHGRAD_ON(d, sum_groups(groups, copies, x.data<T>(), y));
                }) <= 32 * epsilon<T>);
        }
}

TEST_CASE_TEMPLATE("cuda: an infinity, a NaN and a denormal reach their sum, and no other", T, float,
                   double) {
  using Limits = std::numeric_limits<T>;
  Tensor x = Tensor::zeros({5, 1100}, dtype_of<T>);
  x.data<T>()[7] = Limits::quiet_NaN();
  x.data<T>()[1100 + 1050] = Limits::infinity();
  x.data<T>()[2 * 1100 + 500] = Limits::denorm_min();
  for (const Device device : other_devices()) {
    const std::vector<T> y = output_of<T>(device, 5, [&](Device d, T* out) {
      const Tensor in = x.to(d);
      HASHGRAD_ON(d, sum_rows(5, 1100, in.data<T>(), out));
    });
    CHECK(std::isnan(y[0]));
    CHECK(y[1] == Limits::infinity());
    CHECK(y[2] == Limits::denorm_min());
    CHECK(y[3] == 0);
  }
}

TEST_CASE_TEMPLATE("cuda: the maximum of a row is its first, and NaN counts as one", T, float, double) {
  for (const Device device : other_devices())
    for (const int64_t columns : {1, 3, 17, 33, 129, 1100})
      for (const bool awkward : {false, true}) {
        CAPTURE(columns);
        const int64_t rows = 17;
        Tensor x = awkward ? awkward_values<T>({rows, columns}, 1) : values<T>({rows, columns}, 1, 0, 5);
        for (int64_t i = 0; i < x.numel() && !awkward; ++i)
          x.data<T>()[i] = std::floor(x.data<T>()[i]);  // ties
        const auto both = [&](Device d, T* maximum, int64_t* argmax) {
          const Tensor in = x.to(d);
          HASHGRAD_ON(d, max_rows(rows, columns, in.data<T>(), maximum, argmax));
        };
        CHECK(error_of<T>(device, rows, [&](Device d, T* y) { both(d, y, nullptr); }) == 0);
        CHECK(error_of<int64_t>(device, rows, [&](Device d, int64_t* y) { both(d, nullptr, y); }) == 0);
        const Tensor at = labels(rows, columns), dy = values<T>({rows}, 3);
        CHECK(error_of<T>(device, rows * columns, [&](Device d, T* y) {
                const Tensor column = at.to(d), g = dy.to(d);
                HASHGRAD_ON(d, place_in_rows(rows, columns, column.data<int64_t>(), g.data<T>(), y));
              }) == 0);
      }
}
