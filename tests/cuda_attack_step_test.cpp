#include "cuda/attack_step.h"
#include "tests/cuda_testing.h"

using namespace hashgrad;
using namespace hashgrad::cuda_testing;

namespace {

/// Images, where an attack has taken them, and a gradient there. Rows 0, 3, ... of the gradient are tiny,
/// rows 1, 4, ... zero.
template <class T>
struct Rows {
  Rows(int64_t rows, int64_t columns)
      : centre(values<T>({rows, columns}, 1, 0, 1)),
        x(values<T>({rows, columns}, 2, -0.2, 1.2)),
        gradient(values<T>({rows, columns}, 3)),
        samples(Tensor::empty({rows}, DType::int64)) {
    for (int64_t i = 0; i < gradient.numel(); ++i)
      gradient.data<T>()[i] *= i / columns % 3 == 0   ? 8 * std::numeric_limits<T>::denorm_min()
                               : i / columns % 3 == 1 ? T{0}
                                                      : T{1};
    for (int64_t i = 0; i < rows; ++i) samples.data<int64_t>()[i] = i == 0 ? (int64_t{1} << 48) - 1 : 7 * i;
  }
  Tensor centre, x, gradient, samples;
};

template <class T>
void check_steps(Device device, int64_t rows, int64_t columns, double eps) {
  const int64_t n = rows * columns;
  const Rows<T> r(rows, columns);
  const T scale = static_cast<T>(0.21);
  const auto error = [&](const auto& call) {
    return error_of<T>(device, n, [&](Device d, T* y) {
      const Tensor x = r.x.to(d), g = r.gradient.to(d), c = r.centre.to(d);
      call(d, x.data<T>(), g.data<T>(), c.data<T>(), y);
    });
  };
  CHECK(error([&](Device d, const T*, const T* g, const T*, T* y) { HASHGRAD_ON(d, signs(n, g, y)); }) == 0);
  CHECK(error([&](Device d, const T*, const T* g, const T*, T* y) {
          HASHGRAD_ON(d, unit_rows(rows, columns, g, y));
        }) == 0);
  CHECK(error([&](Device d, const T* x, const T* g, const T*, T* y) {
          HASHGRAD_ON(d, step(n, scale, x, g, y));
        }) == 0);
  CHECK(error([&](Device d, const T* x, const T*, const T* c, T* y) {
          HASHGRAD_ON(d, project_linf(n, eps, x, c, y));
        }) == 0);
  CHECK(error([&](Device d, const T* x, const T*, const T* c, T* y) {
          HASHGRAD_ON(d, project_l2(rows, columns, eps, x, c, y));
        }) == 0);
  CHECK(error([&](Device d, const T* x, const T* g, const T* c, T* y) {
          HASHGRAD_ON(d, ascend_linf(n, scale, eps, x, g, c, y));
        }) == 0);
  CHECK(error([&](Device d, const T* x, const T* g, const T* c, T* y) {
          HASHGRAD_ON(d, ascend_l2(rows, columns, scale, eps, x, g, c, y));
        }) == 0);
}

}  // namespace

TEST_CASE_TEMPLATE("cuda: every step of an attack has the bits of the CPU", T, float, double) {
  for (const Device device : other_devices())
    for (const int64_t columns : edges)
      for (const int64_t rows : {0, 1, 5}) {
        CAPTURE(rows);
        CAPTURE(columns);
        for (const double eps : {0.1, 1e-30}) check_steps<T>(device, rows, columns, eps);
      }
}

TEST_CASE_TEMPLATE("cuda: steps in place, and along NaN and infinite gradients, are those of the CPU", T,
                   float, double) {
  const int64_t n = 99;
  const Rows<T> r(1, n);
  const Tensor gradient = awkward_values<T>({1, n}, 5);
  for (const Device device : other_devices()) {
    CHECK(error_of<T>(device, n, [&](Device d, T* y) {
            const Tensor g = gradient.to(d), c = r.centre.to(d), x = r.x.to(d);
            HASHGRAD_ON(d, copy_rows(1, n, nullptr, nullptr, x.data<T>(), y));
            HASHGRAD_ON(d, ascend_linf(n, static_cast<T>(0.2), 0.3, y, g.data<T>(), c.data<T>(), y));
          }) == 0);
    CHECK(error_of<T>(device, n, [&](Device d, T* y) {
            const Tensor g = gradient.to(d);
            HASHGRAD_ON(d, unit_rows(1, n, g.data<T>(), y));
          }) == 0);
  }
}

TEST_CASE_TEMPLATE("cuda: random starts have the bits of the CPU, whatever the batch", T, float, double) {
  const uint64_t seed = 0x123456789abcdef0;
  for (const Device device : other_devices())
    for (const int64_t columns : edges)
      for (const int64_t rows : {0, 1, 5}) {
        CAPTURE(rows);
        CAPTURE(columns);
        const Rows<T> r(rows, columns);
        const Tensor radii = values<double>({rows}, 4, 0, 1);
        const auto in_cube = [&](Device d, T* y) {
          const Tensor c = r.centre.to(d), ids = r.samples.to(d);
          HASHGRAD_ON(d, start_linf(rows, columns, 0.3, seed, 77u, ids.data<int64_t>(), c.data<T>(), y));
        };
        const auto on_sphere = [&](Device d, T* y) {
          const Tensor c = r.centre.to(d), ids = r.samples.to(d), lengths = radii.to(d);
          HASHGRAD_ON(d, start_l2(rows, columns, seed, 77u, ids.data<int64_t>(), lengths.data<double>(),
                                  c.data<T>(), y));
        };
        CHECK(error_of<T>(device, rows * columns, in_cube) == 0);
        CHECK(error_of<T>(device, rows * columns, on_sphere) == 0);
      }
}

TEST_CASE_TEMPLATE("cuda: distances and readings have the bits of the CPU", T, float, double) {
  for (const Device device : other_devices())
    for (const int64_t columns : edges)
      for (const int64_t rows : {0, 1, 5}) {
        CAPTURE(rows);
        CAPTURE(columns);
        Rows<T> r(rows, columns);
        for (int64_t i = 0; i < rows * columns; i += 3)
          r.x.template data<T>()[i] = r.centre.template data<T>()[i];
        CHECK(error_of<double>(device, 4 * rows, [&](Device d, double* y) {
                const Tensor x = r.x.to(d), c = r.centre.to(d);
                HASHGRAD_ON(d, distances(rows, columns, c.data<T>(), x.data<T>(), y));
              }) == 0);
        const Tensor logits = awkward_values<T>({rows, 10}, 6), value = values<T>({rows}, 7);
        if (rows > 0) r.gradient.template data<T>()[r.gradient.numel() - (columns > 0)] = NAN;
        for (const bool all : {true, false})
          CHECK(error_of<double>(device, 4 * rows, [&](Device d, double* y) {
                  const Tensor z = logits.to(d), v = value.to(d), g = r.gradient.to(d);
                  const T *scores = all ? z.data<T>() : nullptr, *losses = all ? v.data<T>() : nullptr;
                  HASHGRAD_ON(d, read_rows(rows, 10, columns, scores, losses, g.data<T>(),
                                           reinterpret_cast<cpu::Reading*>(y)));
                }) == 0);
      }
}

TEST_CASE_TEMPLATE("cuda: a row has the same bits alone as among others", T, float, double) {
  const int64_t rows = 5, columns = 300;
  const Rows<T> r(rows, columns);
  for (const Device device : other_devices()) {
    const Tensor centre = Tensor::full({rows, columns}, 0.5, dtype_of<T>, device);
    CHECK(rows_stand_alone<T>(device, r.gradient, columns, [&](Device d, int64_t some, const T* g, T* y) {
      const T* c = centre.data<T>();
      HASHGRAD_ON(d, ascend_l2(some, columns, T{3}, 0.3, c, g, c, y));
    }));
  }
}

TEST_CASE_TEMPLATE("cuda: rows are copied from where to where they should", T, float, double, int64_t,
                   uint8_t) {
  for (const Device device : other_devices())
    for (const int64_t columns : {0, 1, 33}) {
      std::vector<T> x;
      for (int64_t i = 0; i < 4 * columns; ++i) x.push_back(static_cast<T>(i));
      const Tensor from = Tensor::of(x, {4, columns});
      const Tensor out_of = Tensor::of<int64_t>({3, 1}, {2}), into = Tensor::of<int64_t>({0, 2}, {2});
      const auto copied = [&](bool named) {
        return output_of<T>(device, 3 * columns, [&](Device d, T* y) {
          const Tensor f = from.to(d), a = out_of.to(d), b = into.to(d);
          HASHGRAD_ON(d, copy_rows(3, columns, nullptr, nullptr, f.data<T>(), y));
          if (named)
            HASHGRAD_ON(d, copy_rows(2, columns, b.data<int64_t>(), a.data<int64_t>(), f.data<T>(), y));
        });
      };
      std::vector<T> want(x.begin(), x.begin() + 3 * columns);
      CHECK(copied(false) == want);
      std::copy_n(x.begin() + 3 * columns, columns, want.begin());
      std::copy_n(x.begin() + columns, columns, want.begin() + 2 * columns);
      CHECK(copied(true) == want);
    }
}
