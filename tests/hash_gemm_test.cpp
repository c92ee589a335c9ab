#include "cpu/hash_gemm.h"

#include <cmath>
#include <cstring>
#include <doctest/doctest.h>
#include <limits>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"
#include "cpu/hash_reference.h"
#include "tests/cpu_testing.h"

using namespace hashgrad;
using namespace hashgrad::cpu_testing;
using cpu::HashedMatrix;

namespace {

/// The whole of one layer: forward with bias and ReLU off, both gradients, dense twin and its adjoint.
template <class T>
struct Results {
  std::vector<T> y, dx, dw, dense, scattered;
};

template <class T>
Results<T> run(const HashedMatrix& v, int64_t batch, uint32_t seed = 1) {
  const int64_t rows = v.rows(), columns = v.columns();
  const auto w = random_values<T>(v.buckets(), seed), x = random_values<T>(batch * columns, seed + 1),
             dy = random_values<T>(batch * rows, seed + 2), bias = random_values<T>(rows, seed + 3),
             d_dense = random_values<T>(rows * columns, seed + 4);
  Results<T> r{poisoned<T>(batch * rows), poisoned<T>(batch * columns), poisoned<T>(v.buckets()),
               poisoned<T>(rows * columns), poisoned<T>(v.buckets())};
  cpu::Epilogue<T> epilogue;
  epilogue.column_bias = bias.data();
  cpu::hashed_linear(v, w.data(), batch, x.data(), r.y.data(), epilogue);
  cpu::hashed_linear_input_gradient(v, w.data(), batch, dy.data(), r.dx.data());
  cpu::hashed_linear_bucket_gradient(v, batch, x.data(), dy.data(), r.dw.data());
  cpu::materialise(v, w.data(), r.dense.data());
  cpu::scatter(v, d_dense.data(), r.scattered.data());
  return r;
}

/// Another thread count until the end of the scope.
class ThreadCount {
 public:
  explicit ThreadCount(int n) : before_(threads()) { set_threads(n); }
  ~ThreadCount() { set_threads(before_); }
  ThreadCount(const ThreadCount&) = delete;
  ThreadCount& operator=(const ThreadCount&) = delete;

 private:
  int before_;
};

template <class T>
void compare_with_reference(const HashedMatrix& v, int64_t batch) {
  CAPTURE(v.rows());
  CAPTURE(v.columns());
  CAPTURE(v.buckets());
  CAPTURE(batch);
  const int64_t rows = v.rows(), columns = v.columns();
  const auto w = random_values<T>(v.buckets(), 1), x = random_values<T>(batch * columns, 2),
             dy = random_values<T>(batch * rows, 3), bias = random_values<T>(rows, 4);
  const Results<T> r = run<T>(v, batch);
  const double terms = static_cast<double>(rows * columns * (batch + 1));
  CHECK(sum_error(r.y, cpu::reference::forward(v, w.data(), batch, x.data(), bias.data()),
                  4.0 * static_cast<double>(columns)) < 1);
  CHECK(sum_error(r.dx, cpu::reference::input_gradient(v, w.data(), batch, dy.data()),
                  4.0 * static_cast<double>(rows)) < 1);
  CHECK(sum_error(r.dw, cpu::reference::bucket_gradient(v, batch, x.data(), dy.data()), terms) < 1);
  int64_t wrong = 0;
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      const T expected = cpu::reference::virtual_weight(v, w.data(), i, j);
      wrong += r.dense[static_cast<size_t>(i * columns + j)] != expected;
    }
  }
  CHECK(wrong == 0);
}

}  // namespace

TEST_CASE("the number of buckets is the rounded-up share, also of rates that binary cannot hold") {
  CHECK(cpu::bucket_count(3211264, 1.0 / 64) == 50176);
  CHECK(cpu::bucket_count(70, 0.1) == 7);
  CHECK(cpu::bucket_count(71, 0.1) == 8);
  CHECK(cpu::bucket_count(100, 0.07) == 7);
  CHECK(cpu::bucket_count(1600, 1.0 / 64) == 25);
  CHECK(cpu::bucket_count(10, 1e-9) == 1);
  CHECK(cpu::bucket_count(10, 1) == 10);
  for (const HashMode mode : {HashMode::strat, HashMode::window}) {
    CHECK(cpu::bucket_count(5120, 1.0 / 64, mode) == 96);
    CHECK(cpu::bucket_count(320, 0.1, mode) == 32);
    CHECK(cpu::bucket_count(330, 0.1, mode) == 64);
    CHECK(cpu::bucket_count(10, 1.0 / 64, mode) == 32);
    CHECK_THROWS_AS(cpu::bucket_count((int64_t{1} << 31) - 1, 1, mode), Error);
  }
  CHECK(cpu::bucket_count((int64_t{1} << 31) - 1, 1) == (int64_t{1} << 31) - 1);
  CHECK(cpu::bucket_count(5120, 1.0 / 64, HashMode::xxhash) == 80);
  CHECK_THROWS_AS(cpu::bucket_count(10, 0), Error);
  CHECK_THROWS_AS(cpu::bucket_count(10, 1.0001), Error);
}

TEST_CASE("hashed layers agree with the textbook formulas for ragged shapes and any number of buckets") {
  const ThreadCount one(1);  // many tiny products
  for_each_isa([] {
    for (const int64_t buckets : {1, 2, 16, 17, 31, 32, 33, 1000, 4096, 1000000}) {
      const HashSpec spec{static_cast<uint64_t>(buckets) << 33 | 5, buckets, HashMode::full};
      compare_with_reference<float>(HashedMatrix::linear(spec, 33, 129), 17);
      if (buckets < 1000000) compare_with_reference<double>(HashedMatrix::linear(spec, 17, 33), 3);
    }
    const HashSpec spec{9, 50, HashMode::full};
    for (const int64_t rows : {1, 3, 17, 129}) {
      for (const int64_t columns : {1, 3, 33, 530}) {
        for (const int64_t batch : {0, 1, 5}) {
          compare_with_reference<float>(HashedMatrix::linear(spec, rows, columns), batch);
          compare_with_reference<double>(HashedMatrix::linear(spec, rows, columns), batch);
        }
      }
    }
  });
}

TEST_CASE("hashed layers agree with the textbook formulas when a batch is cut into depths and stripes") {
  compare_with_reference<float>(HashedMatrix::linear({4, 70, HashMode::full}, 2, 3000), 700);
  compare_with_reference<float>(HashedMatrix::linear({4, 600, HashMode::full}, 300, 4), 3);  // bands of 150
}

TEST_CASE("hashed layers of mode xxhash agree with the textbook formulas") {
  const HashSpec spec{xxhash_default_seed, 100, HashMode::xxhash};
  compare_with_reference<float>(HashedMatrix::linear(spec, 33, 65), 17);
  compare_with_reference<double>(HashedMatrix::convolution(spec, 5, 3, 3, 2), 3);
  compare_with_reference<float>(HashedMatrix::linear_bias(spec, 33), 1);
}

TEST_CASE("hashed layers of modes strat and window agree with the textbook formulas") {
  for_each_isa([] {
    for (const HashMode mode : {HashMode::strat, HashMode::window}) {
      for (const int64_t buckets : {32, 64, 4096, 8192}) {
        const HashSpec spec{static_cast<uint64_t>(buckets) << 33 | 5, buckets, mode};
        compare_with_reference<float>(HashedMatrix::linear(spec, 65, 270), 5);
        compare_with_reference<double>(HashedMatrix::linear(spec, 33, 31), 3);
        compare_with_reference<float>(HashedMatrix::linear(spec, 3, 600), 1);
      }
    }
  });
}

TEST_CASE(
    "a convolution's virtual weights are those of a linear layer with its unfolded columns, a bias has its "
    "own") {
  const HashSpec spec{3, 64, HashMode::full};
  const auto conv = HashedMatrix::convolution(spec, 8, 3, 5, 5), linear = HashedMatrix::linear(spec, 8, 75);
  const auto bias = HashedMatrix::convolution_bias(spec, 200), weights = HashedMatrix::linear(spec, 200, 1);
  int equal = 0;
  for (int64_t i = 0; i < 8; ++i) {
    for (int64_t j = 0; j < 75; ++j) CHECK(conv.slot(i, j) == linear.slot(i, j));
  }
  for (int64_t i = 0; i < 200; ++i) {
    CHECK(bias.slot(i, 0) == hash_slot(bias_key(3, static_cast<uint32_t>(i)), column_key(3, 0), 128));
    equal += bias.slot(i, 0) == weights.slot(i, 0);
  }
  CHECK(equal < 20);
}

TEST_CASE_TEMPLATE(
    "packed panels hold exactly the materialised V, in both orientations and with zeros past its edge", T,
    float, double) {
  for (const HashMode mode : hash_modes) {
    const int64_t buckets = mode == HashMode::window ? 3200 : 320;
    const auto v = HashedMatrix::linear({77, buckets, mode}, 37, 75);
    const auto w = random_values<T>(buckets, 6);
    auto dense = poisoned<T>(37 * 75);
    cpu::materialise(v, w.data(), dense.data());
    for_each_isa([&] {
      for (const bool transposed : {false, true}) {
        for (const int64_t width : {6, 8, 16, 32}) {
          const int64_t index_end = transposed ? 75 : 37, first = width, k0 = 5, depth = 29;
          const int64_t count = index_end - first, panels = (count + width - 1) / width;
          if (count <= 0) continue;
          auto packed = poisoned<T>(panels * depth * width);
          cpu::pack_hashed(v, w.data(), transposed)({first, count, k0, depth, width}, packed.data());
          int wrong = 0;
          for (int64_t e = 0; e < panels * depth * width; ++e) {
            const int64_t index = first + e / (depth * width) * width + e % width, k = k0 + e / width % depth;
            const int64_t i = transposed ? k : index, j = transposed ? index : k;
            wrong += packed[static_cast<size_t>(e)] !=
                     (index < index_end ? dense[static_cast<size_t>(i * 75 + j)] : T{0});
          }
          CHECK(wrong == 0);
        }
      }
    });
  }
}

TEST_CASE_TEMPLATE("V is the same bits under every instruction set", T, float, double) {
  for (const HashMode mode : {HashMode::full, HashMode::strat, HashMode::window}) {
    const auto v = HashedMatrix::linear({0x123456789, 12352, mode}, 37, 1001);
    std::vector<T> first;
    for_each_isa([&] {
      const auto dense = run<T>(v, 1).dense;
      if (first.empty()) first = dense;
      CHECK(same_bits(first, dense));
    });
  }
}

TEST_CASE_TEMPLATE("results are the same bits for any number of threads", T, float, double) {
  const auto v = HashedMatrix::linear({8, 3000, HashMode::full}, 300, 700);
  const auto run_on = [&](int n) {
    const ThreadCount count(n);
    return run<T>(v, 33);
  };
  const Results<T> one = run_on(1);
  for (const int n : {2, 3, 8}) {
    const Results<T> many = run_on(n);
    CHECK(same_bits(one.y, many.y));
    CHECK(same_bits(one.dx, many.dx));
    CHECK(same_bits(one.dw, many.dw));
    CHECK(same_bits(one.dense, many.dense));
    CHECK(same_bits(one.scattered, many.scattered));
  }
}

TEST_CASE_TEMPLATE("a sample's outputs and gradient are the same bits alone and in a batch", T, float,
                   double) {
  const int64_t rows = 70, columns = 500, batch = 129;
  const auto v = HashedMatrix::linear({8, 900, HashMode::full}, rows, columns);
  const auto w = random_values<T>(900, 1), x = random_values<T>(batch * columns, 2),
             dy = random_values<T>(batch * rows, 3);
  auto y = poisoned<T>(batch * rows), dx = poisoned<T>(batch * columns);
  cpu::hashed_linear(v, w.data(), batch, x.data(), y.data());
  cpu::hashed_linear_input_gradient(v, w.data(), batch, dy.data(), dx.data());
  for (const int64_t m : {0, 64, 128}) {
    auto y1 = poisoned<T>(rows), dx1 = poisoned<T>(columns);
    cpu::hashed_linear(v, w.data(), 1, x.data() + m * columns, y1.data());
    cpu::hashed_linear_input_gradient(v, w.data(), 1, dy.data() + m * rows, dx1.data());
    CHECK(std::memcmp(y1.data(), y.data() + m * rows, y1.size() * sizeof(T)) == 0);
    CHECK(std::memcmp(dx1.data(), dx.data() + m * columns, dx1.size() * sizeof(T)) == 0);
  }
}

TEST_CASE_TEMPLATE("a hashed layer computes the same bits as the dense layer with V for its weights", T,
                   float, double) {
  const int64_t rows = 70, columns = 700, batch = 33;
  const auto v = HashedMatrix::linear({8, 900, HashMode::full}, rows, columns);
  const auto w = random_values<T>(900, 1), x = random_values<T>(batch * columns, 2),
             dy = random_values<T>(batch * rows, 3);
  for_each_isa([&] {
    auto y = poisoned<T>(batch * rows), dx = poisoned<T>(batch * columns),
         dense = poisoned<T>(rows * columns);
    auto dense_y = y, dense_dx = dx;
    cpu::hashed_linear(v, w.data(), batch, x.data(), y.data());
    cpu::hashed_linear_input_gradient(v, w.data(), batch, dy.data(), dx.data());
    cpu::materialise(v, w.data(), dense.data());
    cpu::gemm(false, true, batch, rows, columns, x.data(), columns, dense.data(), columns, dense_y.data(),
              rows);
    cpu::gemm(false, false, batch, columns, rows, dy.data(), rows, dense.data(), columns, dense_dx.data(),
              columns);
    CHECK(same_bits(y, dense_y));
    CHECK(same_bits(dx, dense_dx));
  });
}

TEST_CASE("forward and bucket gradient are adjoint: <dY, X V^T> = <dw, w>") {
  const int64_t rows = 65, columns = 257, batch = 19;
  for (const int64_t buckets : {1, 100, 5000}) {
    const auto v =
        HashedMatrix::linear({static_cast<uint64_t>(buckets), buckets, HashMode::full}, rows, columns);
    const auto w = random_values<double>(buckets, 1), x = random_values<double>(batch * columns, 2),
               dy = random_values<double>(batch * rows, 3);
    auto y = poisoned<double>(batch * rows), dw = poisoned<double>(buckets);
    cpu::hashed_linear(v, w.data(), batch, x.data(), y.data());
    cpu::hashed_linear_bucket_gradient(v, batch, x.data(), dy.data(), dw.data());
    double left = 0, right = 0;
    for (size_t e = 0; e < y.size(); ++e) left += dy[e] * y[e];
    for (size_t b = 0; b < dw.size(); ++b) right += dw[b] * w[b];
    CHECK(left == doctest::Approx(right).epsilon(1e-11));
  }
}

TEST_CASE("scatter is the adjoint of materialise: <dV, V> = <dw, w>, band after band and tile after tile") {
  const int64_t rows = 300, columns = 1030;  // several bands, several tiles, ragged ends
  const auto v = HashedMatrix::linear({1, 777, HashMode::full}, rows, columns);
  const auto w = random_values<double>(777, 1), d_dense = random_values<double>(rows * columns, 2);
  auto dense = poisoned<double>(rows * columns), dw = poisoned<double>(777);
  cpu::materialise(v, w.data(), dense.data());
  cpu::scatter(v, d_dense.data(), dw.data());
  double left = 0, right = 0;
  for (size_t e = 0; e < dense.size(); ++e) left += d_dense[e] * dense[e];
  for (size_t b = 0; b < dw.size(); ++b) right += dw[b] * w[b];
  CHECK(left == doctest::Approx(right).epsilon(1e-11));
}

TEST_CASE("the input gradient can be added to what is there, and the forward product clipped at zero") {
  const auto v = HashedMatrix::linear({1, 40, HashMode::full}, 9, 20);
  const auto w = random_values<double>(40, 1), x = random_values<double>(3 * 20, 2),
             dy = random_values<double>(3 * 9, 3);
  auto fresh = poisoned<double>(3 * 20), y = poisoned<double>(3 * 9), clipped = poisoned<double>(3 * 9);
  std::vector<double> added(3 * 20, 1.0);
  cpu::Epilogue<double> accumulate, relu;
  accumulate.accumulate = true;
  relu.relu = true;
  cpu::hashed_linear_input_gradient(v, w.data(), 3, dy.data(), fresh.data());
  cpu::hashed_linear_input_gradient(v, w.data(), 3, dy.data(), added.data(), accumulate);
  cpu::hashed_linear(v, w.data(), 3, x.data(), y.data());
  cpu::hashed_linear(v, w.data(), 3, x.data(), clipped.data(), relu);
  for (size_t e = 0; e < fresh.size(); ++e) CHECK(added[e] == doctest::Approx(1 + fresh[e]).epsilon(1e-13));
  for (size_t e = 0; e < y.size(); ++e) CHECK(clipped[e] == std::max(y[e], 0.0));
}
