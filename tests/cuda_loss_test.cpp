#include "autograd/ops/loss.h"
#include "autograd/ops/reduce.h"
#include "cuda/loss.h"
#include "tests/cuda_testing.h"
#include "tests/error_of.h"

using namespace hashgrad;
using namespace hashgrad::cuda_testing;
using cpu::LogitChoice;
using cpu::LogitLoss;

namespace {

/// exp and log of CPU and GPU are each two units in the last place off, and sums are made in other orders.
template <class T>
constexpr double few_ulps = 16 * epsilon<T>;

const std::vector<int64_t> all_classes{4, 10, 33, 129, 1000};

/// Logits with ties among the largest: whole numbers.
template <class T>
Tensor tied_values(const Shape& shape, uint64_t key) {
  Tensor z = values<T>(shape, key);
  for (int64_t i = 0; i < z.numel(); ++i) z.data<T>()[i] = std::floor(z.data<T>()[i]);
  return z;
}

/// Every loss of rows [first, first + n) as f(device, first, n, logits, loss, gradient), for labels over all
/// classes; the gradient may be null.
template <class T, class F>
void for_each_loss(int64_t rows, int64_t classes, const F& f) {
  const Tensor y = labels(rows, classes), t = labels(rows, classes, 3);
  Tensor soft = values<T>({rows, classes}, 7, 0, 2.0 / static_cast<double>(classes));
  for (int64_t i = 0; i < soft.numel(); i += 2)
    soft.data<T>()[i] = 0;  // also where a logit is -inf: counts as 0
  f("cross_entropy", [=](Device d, int64_t first, int64_t n, const T* z, T* loss, T* gradient) {
    const Tensor targets = soft.slice(0, first, first + n).to(d);
    HASHGRAD_ON(d, cross_entropy(n, classes, z, targets.data<T>(), loss, gradient));
  });
  f("exact_cross_entropy", [=](Device d, int64_t first, int64_t n, const T* z, T* loss, T* gradient) {
    const Tensor label = y.slice(0, first, first + n).to(d);
    HASHGRAD_ON(d, exact_cross_entropy(n, classes, z, label.data<int64_t>(), loss, gradient));
  });
  for (const LogitLoss kind : {LogitLoss::margin, LogitLoss::dlr, LogitLoss::dlr_targeted})
    f("logit_difference", [=](Device d, int64_t first, int64_t n, const T* z, T* loss, T* gradient) {
      const Tensor label = y.slice(0, first, first + n).to(d), target = t.slice(0, first, first + n).to(d),
                   ones = Tensor::full({n}, 1, dtype_of<T>, d);
      const Storage room(static_cast<size_t>(n) * sizeof(LogitChoice), d);
      auto* choices = gradient ? reinterpret_cast<LogitChoice*>(room.data()) : nullptr;
      HASHGRAD_ON(d, logit_difference(kind, n, classes, z, label.data<int64_t>(),
                                      kind == LogitLoss::dlr_targeted ? target.data<int64_t>() : nullptr,
                                      loss, choices));
      if (gradient)
        HASHGRAD_ON(d, logit_difference_backward(n, classes, 1, z, choices, ones.data<T>(), gradient));
    });
}

}  // namespace

TEST_CASE_TEMPLATE("cuda: every loss and its gradient, ties included, and rows stand alone", T, float,
                   double) {
  for (const Device device : other_devices())
    for (const int64_t classes : all_classes)
      for (const int64_t rows : {0, 1, 17})
        for (const bool ties : {false, true}) {
          const Tensor z = ties ? tied_values<T>({rows, classes}, 1) : values<T>({rows, classes}, 1);
          for_each_loss<T>(rows, classes, [&](const char* name, auto loss) {
            CAPTURE(name);
            CAPTURE(classes);
            const auto value = [&](Device d, T* out) {
              const Tensor in = z.to(d);
              loss(d, 0, rows, in.data<T>(), out, nullptr);
            };
            const auto gradient = [&](Device d, T* out) {
              const Tensor in = z.to(d);
              Tensor unused = Tensor::empty({rows}, dtype_of<T>, d);
              loss(d, 0, rows, in.data<T>(), unused.data<T>(), out);
            };
            CHECK(error_of<T>(device, rows, value) <= few_ulps<T>);
            CHECK(error_of<T>(device, rows * classes, gradient) <= few_ulps<T>);
          });
        }
}

TEST_CASE_TEMPLATE("cuda: the loss and gradient of a row do not depend on its batch", T, float, double) {
  const int64_t rows = 17, classes = 33;
  const Tensor z = values<T>({rows, classes}, 1);
  for (const Device device : other_devices())
    for_each_loss<T>(rows, classes, [&](const char* name, auto loss) {
      CAPTURE(name);
      const Tensor there = z.to(device);
      const auto gradient = [&](int64_t first, int64_t n) {
        return output_of<T>(device, n * classes, [&](Device d, T* out) {
          Tensor unused = Tensor::empty({n}, dtype_of<T>, d);
          loss(d, first, n, there.data<T>() + first * classes, unused.data<T>(), out);
        });
      };
      const auto value = [&](int64_t first, int64_t n) {
        return output_of<T>(device, n, [&](Device d, T* out) {
          loss(d, first, n, there.data<T>() + first * classes, out, nullptr);
        });
      };
      const std::vector<T> all = gradient(0, rows), all_values = value(0, rows);
      for (int64_t row = 0; row < rows; ++row) {
        CHECK(same_bits(gradient(row, 1), {all.begin() + row * classes, all.begin() + (row + 1) * classes}));
        CHECK(same_bits(value(row, 1), {all_values.begin() + row, all_values.begin() + row + 1}));
      }
    });
}

TEST_CASE_TEMPLATE("cuda: NaN and huge logits give the losses of the CPU", T, float, double) {
  const int64_t classes = 11, rows = 22;
  Tensor z = values<T>({rows, classes}, 1);
  const T special[] = {std::numeric_limits<T>::quiet_NaN(),
                       std::numeric_limits<T>::infinity(),
                       -std::numeric_limits<T>::infinity(),
                       T{1000},
                       T{-1000},
                       T{104}};
  for (int64_t i = 0; i < rows; i += 2)
    z.data<T>()[i * classes + i % classes] = special[static_cast<size_t>(i / 2) % std::size(special)];
  z.data<T>()[classes + 3] = z.data<T>()[classes + 4] = special[0];
  for (const Device device : other_devices())
    for_each_loss<T>(rows, classes, [&](const char* name, auto loss) {
      CAPTURE(name);
      CHECK(error_of<T>(device, rows, [&](Device d, T* out) {
              const Tensor in = z.to(d);
              loss(d, 0, rows, in.data<T>(), out, nullptr);
            }) <= few_ulps<T>);
      CHECK(error_of<T>(device, rows * classes, [&](Device d, T* out) {
              const Tensor in = z.to(d);
              Tensor unused = Tensor::empty({rows}, dtype_of<T>, d);
              loss(d, 0, rows, in.data<T>(), unused.data<T>(), out);
            }) <= few_ulps<T>);
    });
}

TEST_CASE("cuda: float32 loses on a device exactly the gradient that it loses on the CPU") {
  for (const Device device : other_devices())
    for (const float gap : {16.5f, 17.4f, 40.0f, 103.9f, 104.0f, 1000.0f}) {
      CAPTURE(gap);
      const auto gradient = [&](Device d, auto&& loss) {
        const Variable z = Variable::leaf(Tensor::of<float>({gap, 0}, {1, 2}).to(d));
        return grad(sum(loss(z, Tensor::zeros({1}, DType::int64))), {z})[0].template to_vector<float>();
      };
      const auto plain = [](auto& z, const Tensor& y) { return cross_entropy(z, y); };
      const auto exact = [](auto& z, const Tensor& y) { return exact_cross_entropy(z, y); };
      const std::vector<float> here = gradient({}, plain), there = gradient(device, plain);
      for (size_t j = 0; j < 2; ++j) {
        CHECK((here[j] == 0) == (there[j] == 0));
        CHECK(there[j] == doctest::Approx(here[j]).epsilon(0.3));  // at 103.9 the result has one bit
      }
      CHECK(gradient(device, exact) == std::vector<float>{-1, 1});
    }
}

TEST_CASE_TEMPLATE("cuda: one-hot targets, scaled rows and stacked cotangents", T, float, double) {
  for (const Device device : other_devices())
    for (const int64_t rows : {0, 1, 17, 129}) {
      const int64_t classes = 10, copies = 3, n = rows * classes;
      const Tensor y = labels(rows, classes);
      CHECK(error_of<T>(device, n, [&](Device d, T* out) {
              const Tensor label = y.to(d);
              HASHGRAD_ON(d, smoothed_one_hot(rows, classes, 0.1, label.data<int64_t>(), out));
            }) == 0);
      const Tensor gradient = values<T>({n}, 1), dy = values<T>({copies * rows}, 2), z = values<T>({n}, 3);
      CHECK(error_of<T>(device, copies * n, [&](Device d, T* out) {
              const Tensor g = gradient.to(d), upper = dy.to(d);
              HASHGRAD_ON(d, scale_rows(rows, classes, copies, upper.data<T>(), g.data<T>(), out));
            }) == 0);
      CHECK(error_of<T>(device, copies * n, [&](Device d, T* out) {
              const Tensor label = y.to(d), in = z.to(d), upper = dy.to(d);
              const Storage room(static_cast<size_t>(rows) * sizeof(LogitChoice), d);
              auto* choices = reinterpret_cast<LogitChoice*>(room.data());
              Tensor loss = Tensor::empty({rows}, dtype_of<T>, d);
              HASHGRAD_ON(d, logit_difference(LogitLoss::dlr, rows, classes, in.data<T>(),
                                              label.data<int64_t>(), nullptr, loss.data<T>(), choices));
              HASHGRAD_ON(d, logit_difference_backward(rows, classes, copies, in.data<T>(), choices,
                                                       upper.data<T>(), out));
            }) <= few_ulps<T>);
    }
}

TEST_CASE("cuda: the first label out of range is found, wherever the labels are") {
  for (const Device device : other_devices()) {
    for (const int64_t rows : {0, 1, 17, 1000})
      for (const int64_t bad : {int64_t{-1}, rows / 4, rows / 2, rows - 1}) {
        Tensor y = labels(rows, 10);
        for (int64_t i = bad; i >= 0 && i < rows; i += 256) y.data<int64_t>()[i] = bad == rows - 1 ? -1 : 10;
        CHECK(error_of<int64_t>(device, 1, [&](Device d, int64_t* row) {
                const Tensor label = y.to(d);
                HASHGRAD_ON(d, find_bad_label(rows, 10, label.data<int64_t>(), row));
              }) == 0);
      }
    const Tensor z = Tensor::zeros({3, 4}, DType::float32, device), y = Tensor::of<int64_t>({0, 4, 1}, {3});
    for (const Tensor& label : {y, y.to(device)}) {
      CHECK_ERROR(cross_entropy(z, label), "cross_entropy: label 4 of row 1 is not in [0,4)");
      CHECK_ERROR(exact_cross_entropy(z, label), "exact_cross_entropy: label 4 of row 1");
      CHECK_ERROR(margin_loss(z, label), "margin_loss: label 4 of row 1");
    }
  }
}
