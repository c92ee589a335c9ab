// Hashed layers on the engines beside the CPU, against the CPU's V (bit for bit), against double oracles, and
// against themselves: other kernels, other batches, other runs.
#include <cmath>
#include <doctest/doctest.h>
#include <limits>
#include <random>
#include <vector>

#include "core/error.h"
#include "cpu/hash_gemm.h"
#include "cpu/hash_reference.h"
#include "cuda/hash_gemm.h"
#include "tests/cpu_testing.h"
#include "tests/engines_testing.h"
#include "tests/error_of.h"

#if HASHGRAD_WITH_CUDA || HASHGRAD_WITH_EMULATOR

using namespace hashgrad;
using cpu::HashedMatrix;
using cpu_testing::poisoned;
using cpu_testing::same_bits;
using cpu_testing::sum_error;

namespace {

/// Calls the function of that engine, which is not the CPU.
#define ON_ENGINE(device, ...)                                                      \
  do {                                                                              \
    HASHGRAD_IF_CUDA(if ((device).kind == Device::Kind::cuda) cuda::__VA_ARGS__;)   \
    HASHGRAD_IF_EMULATOR(if ((device).kind == Device::Kind::emu) emu::__VA_ARGS__;) \
  } while (false)

/// Numbers in the memory of a device.
template <class T>
class DeviceArray {
 public:
  DeviceArray(Device device, const std::vector<T>& host)
      : memory_(memory_of(device)), count_(host.size()), data_(memory_.allocate(bytes() + 1)) {
    memory_.from_host(data_, reinterpret_cast<const std::byte*>(host.data()), bytes());
  }
  ~DeviceArray() { memory_.release(data_, bytes() + 1); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* data() const { return reinterpret_cast<T*>(data_); }
  std::vector<T> host() const {
    std::vector<T> out(count_);
    memory_.to_host(reinterpret_cast<std::byte*>(out.data()), data_, bytes());
    return out;
  }

 private:
  size_t bytes() const { return count_ * sizeof(T); }
  DeviceMemory& memory_;
  size_t count_;
  std::byte* data_;
};

template <class T>
std::vector<T> random_values(int64_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<T> uniform(-1, 1);
  std::vector<T> out(static_cast<size_t>(n));
  for (T& x : out) x = uniform(random);
  return out;
}

constexpr int64_t little = 1;  // bytes of shared memory: sends every lookup to device memory

template <class T>
std::vector<T> forward_on(Device device, const HashedMatrix& v, const std::vector<T>& w, int64_t batch,
                          const std::vector<T>& x, const HashTuning& tuning = {}) {
  const DeviceArray<T> dw(device, w), dx(device, x), dy(device, poisoned<T>(batch * v.rows()));
  const cpu::Epilogue<T> none;
  ON_ENGINE(device, hashed_linear(v, dw.data(), batch, dx.data(), dy.data(), none, tuning));
  return dy.host();
}

template <class T>
std::vector<T> input_gradient_on(Device device, const HashedMatrix& v, const std::vector<T>& w, int64_t batch,
                                 const std::vector<T>& dy, const HashTuning& tuning = {}) {
  const DeviceArray<T> dw(device, w), from(device, dy), dx(device, poisoned<T>(batch * v.columns()));
  const cpu::Epilogue<T> none;
  ON_ENGINE(device, hashed_linear_input_gradient(v, dw.data(), batch, from.data(), dx.data(), none, tuning));
  return dx.host();
}

template <class T>
std::vector<T> bucket_gradient_on(Device device, const HashedMatrix& v, int64_t batch,
                                  const std::vector<T>& x, const std::vector<T>& dy,
                                  const HashTuning& tuning = {}) {
  const DeviceArray<T> on_x(device, x), on_dy(device, dy), dw(device, poisoned<T>(v.buckets()));
  ON_ENGINE(device, hashed_linear_bucket_gradient(v, batch, on_x.data(), on_dy.data(), dw.data(), tuning));
  return dw.host();
}

template <class T>
std::vector<T> materialise_on(Device device, const HashedMatrix& v, const std::vector<T>& w,
                              const HashTuning& tuning = {}) {
  const DeviceArray<T> on_w(device, w), dense(device, poisoned<T>(v.rows() * v.columns()));
  ON_ENGINE(device, materialise(v, on_w.data(), dense.data(), tuning));
  return dense.host();
}

template <class T>
std::vector<T> scatter_on(Device device, const HashedMatrix& v, const std::vector<T>& d_dense,
                          const HashTuning& tuning = {}) {
  const DeviceArray<T> on_dense(device, d_dense), dw(device, poisoned<T>(v.buckets()));
  ON_ENGINE(device, scatter(v, on_dense.data(), dw.data(), tuning));
  return dw.host();
}

template <class T>
std::vector<T> materialised(const HashedMatrix& v, const std::vector<T>& w) {
  auto dense = poisoned<T>(v.rows() * v.columns());
  cpu::materialise(v, w.data(), dense.data());
  return dense;
}

/// All exact kernels that a mode has, with all their tables.
std::vector<HashTuning> product_tunings(HashMode mode) {
  std::vector<HashTuning> all{{HashKernel::reference}, {HashKernel::tile}, {}};
  if (mode == HashMode::xxhash) return all;
  all.push_back({HashKernel::small_batch, 0, BucketTable::global});
  if (mode == HashMode::window) {
    all.push_back({HashKernel::small_batch, 0, BucketTable::window});
  } else {
    all.push_back({HashKernel::small_batch, 0, BucketTable::shared});
    all.push_back({HashKernel::small_batch, 0, BucketTable::signed_shared});
  }
  return all;
}

/// Y, dX and dw of every kernel against the double oracles; kernels that promise it give the same bits.
template <class T>
void compare_products(Device device, const HashedMatrix& v, int64_t batch) {
  CAPTURE(to_string(device));
  CAPTURE(name_of(v.spec().mode));
  CAPTURE(v.rows());
  CAPTURE(v.columns());
  CAPTURE(v.buckets());
  CAPTURE(batch);
  const auto w = random_values<T>(v.buckets(), 1), x = random_values<T>(batch * v.columns(), 2),
             dy = random_values<T>(batch * v.rows(), 3);
  const auto y_exact = cpu::reference::forward(v, w.data(), batch, x.data(), static_cast<const T*>(nullptr));
  const auto dx_exact = cpu::reference::input_gradient(v, w.data(), batch, dy.data());
  const auto dw_exact = cpu::reference::bucket_gradient(v, batch, x.data(), dy.data());
  const double rows = static_cast<double>(v.rows()), columns = static_cast<double>(v.columns());
  std::vector<T> first_y, first_dx, first_dw;
  for (const HashTuning& tuning : product_tunings(v.spec().mode)) {
    CAPTURE(name_of(tuning.kernel));
    CAPTURE(static_cast<int>(tuning.table.value_or(BucketTable::global)));
    const auto y = forward_on(device, v, w, batch, x, tuning),
               dx = input_gradient_on(device, v, w, batch, dy, tuning);
    CHECK(sum_error(y, y_exact, 4 * columns) < 1);
    CHECK(sum_error(dx, dx_exact, 4 * rows) < 1);
    if (tuning.kernel == HashKernel::reference) continue;
    if (first_y.empty()) first_y = y, first_dx = dx;
    CHECK(same_bits(y, first_y));
    CHECK(same_bits(dx, first_dx));
  }
  for (const HashTuning& tuning : {HashTuning{HashKernel::reference}, HashTuning{}, HashTuning{{}, little}}) {
    const auto dw = bucket_gradient_on(device, v, batch, x, dy, tuning);
    CHECK(sum_error(dw, dw_exact, rows * columns * static_cast<double>(batch + 1)) < 1);
    if (tuning.kernel == HashKernel::reference) continue;
    if (first_dw.empty()) first_dw = dw;
    CHECK(same_bits(dw, first_dw));
  }
}

}  // namespace

TEST_CASE_TEMPLATE("V on other devices is the CPU's bit for bit, in every mode", T, float, double) {
  for (const Device device : other_devices())
    for (const HashMode mode : hash_modes)
      for (const auto& [rows, columns] :
           std::vector<std::array<int64_t, 2>>{{1, 1}, {3, 17}, {33, 129}, {130, 700}}) {
        for (const int64_t buckets : {int64_t{32}, int64_t{4096}, int64_t{20000}}) {
          CAPTURE(name_of(mode));
          CAPTURE(rows);
          CAPTURE(buckets);
          if (mode == HashMode::xxhash && rows > 33) continue;  // slow to place
          const auto v = HashedMatrix::linear({0x123456789abcdef, buckets, mode}, rows, columns);
          const auto w = random_values<T>(buckets, 6), expected = materialised(v, w);
          CHECK(same_bits(materialise_on(device, v, w), expected));
          CHECK(same_bits(materialise_on(device, v, w, {{}, little}), expected));
          if (rows < 100) CHECK(same_bits(materialise_on(device, v, w, {HashKernel::reference}), expected));
        }
        const auto bias = HashedMatrix::linear_bias({9, 7, mode}, rows);
        const auto w = random_values<T>(7, 6);
        CHECK(same_bits(materialise_on(device, bias, w), materialised(bias, w)));
        CHECK(same_bits(materialise_on(device, bias, w, {HashKernel::reference}), materialised(bias, w)));
      }
}

TEST_CASE("a convolution's virtual weights are the CPU's on other devices") {
  for (const Device device : other_devices())
    for (const HashMode mode : hash_modes) {
      const auto v = HashedMatrix::convolution({3, 64, mode}, 8, 3, 5, 5);
      const auto w = random_values<float>(64, 6);
      CHECK(same_bits(materialise_on(device, v, w), materialised(v, w)));
    }
}

TEST_CASE("V keeps the signs of zeros, infinities and NaNs") {
  for (const Device device : other_devices()) {
    const auto v = HashedMatrix::linear({1, 5, HashMode::full}, 9, 11);
    const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
    const std::vector<float> w{0.0f, -0.0f, inf, nan, 1e-45f};
    CHECK(same_bits(materialise_on(device, v, w), materialised(v, w)));
  }
}

TEST_CASE("products with V agree with the textbook formulas, whichever kernel computes them") {
  for (const Device device : other_devices()) {
    for (const int64_t buckets : {1, 2, 16, 17, 31, 32, 33, 1000, 4096}) {
      const HashSpec spec{static_cast<uint64_t>(buckets) << 33 | 5, buckets, HashMode::full};
      compare_products<float>(device, HashedMatrix::linear(spec, 33, 129), buckets == 17 ? 17 : 3);
    }
    for (const HashMode mode : {HashMode::strat, HashMode::window})
      for (const int64_t buckets : {32, 96, 4096}) {
        compare_products<float>(device, HashedMatrix::linear({5, buckets, mode}, 65, 130), 3);
        if (buckets == 4096)  // eight windows of doubles leave little shared memory for samples
          compare_products<double>(device, HashedMatrix::linear({5, buckets, mode}, 17, 161),
                                   mode == HashMode::window ? 1 : 4);
      }
    compare_products<float>(device,
                            HashedMatrix::linear({xxhash_default_seed, 100, HashMode::xxhash}, 33, 65), 17);
    compare_products<double>(device, HashedMatrix::linear({xxhash_default_seed, 10, HashMode::xxhash}, 3, 17),
                             3);
  }
}

TEST_CASE("products with V of ragged shapes agree with the textbook formulas") {
  for (const Device device : other_devices())
    for (const int64_t rows : {1, 3, 17, 129})
      for (const int64_t columns : {1, 3, 33})
        for (const int64_t batch : {0, 1, 9}) {
          if (rows + columns > 100 && batch == 9) continue;
          const auto v = HashedMatrix::linear({9, 50, HashMode::full}, rows, columns);
          compare_products<float>(device, v, batch);
          if (batch == 9) compare_products<double>(device, v, batch);
        }
}

TEST_CASE("eight samples of float64 at a time are too many for 64 KB of shared memory, and are not taken") {
  const auto v = HashedMatrix::linear({3, 4096, HashMode::strat}, 65, 130);
  const auto w = random_values<double>(4096, 1), x = random_values<double>(9 * 130, 2);
  for (const Device device : other_devices())
    CHECK(same_bits(forward_on(device, v, w, 9, x, {HashKernel::small_batch, 64 << 10}),
                    forward_on(device, v, w, 9, x)));
}

TEST_CASE("sums over several parts agree in all kernels") {
  for (const Device device : other_devices()) {
    compare_products<float>(device, HashedMatrix::linear({4, 70, HashMode::full}, 2, 700), 2);
    compare_products<float>(device, HashedMatrix::linear({4, 4096, HashMode::window}, 530, 5), 9);
    compare_products<double>(device, HashedMatrix::linear({4, 64, HashMode::strat}, 3, 520), 2);
  }
}

TEST_CASE_TEMPLATE("a sample's outputs and gradient have the same bits alone and in a batch", T, float,
                   double) {
  for (const Device device : other_devices()) {
    const int64_t rows = 40, columns = 300, batch = 70;
    const auto v = HashedMatrix::linear({8, 900, HashMode::full}, rows, columns);
    const auto w = random_values<T>(900, 1), x = random_values<T>(batch * columns, 2),
               dy = random_values<T>(batch * rows, 3);
    const auto y = forward_on(device, v, w, batch, x), dx = input_gradient_on(device, v, w, batch, dy);
    for (const int64_t m : {0, 64, 69}) {
      const auto row_of = [m](const std::vector<T>& all, int64_t n) {
        return std::vector<T>(all.begin() + m * n, all.begin() + (m + 1) * n);
      };
      CHECK(same_bits(forward_on(device, v, w, 1, row_of(x, columns)), row_of(y, rows)));
      CHECK(same_bits(input_gradient_on(device, v, w, 1, row_of(dy, rows)), row_of(dx, columns)));
    }
  }
}

TEST_CASE("bucket gradients have the same bits in every run and with any amount of shared memory") {
  for (const Device device : other_devices())
    for (const HashMode mode : {HashMode::full, HashMode::strat, HashMode::window}) {
      const auto v = HashedMatrix::linear({8, 4096, mode}, 140, 150);
      const auto x = random_values<float>(33 * 150, 2), dy = random_values<float>(33 * 140, 3);
      const auto first = bucket_gradient_on(device, v, 33, x, dy);
      CHECK(same_bits(bucket_gradient_on(device, v, 33, x, dy), first));
      CHECK(same_bits(bucket_gradient_on(device, v, 33, x, dy, {{}, little}), first));
    }
}

TEST_CASE_TEMPLATE("forward and bucket gradient are adjoint: <dY, X V^T> = <dw, w>, as are V and scatter", T,
                   float, double) {
  const auto dot = [](const std::vector<T>& a, const std::vector<T>& b) {
    double sum = 0;
    for (size_t e = 0; e < a.size(); ++e) sum += static_cast<double>(a[e]) * static_cast<double>(b[e]);
    return sum;
  };
  const double close = std::is_same_v<T, float> ? 2e-5 : 1e-13;  // rounding of some thousand terms
  for (const Device device : other_devices())
    for (const HashMode mode : {HashMode::full, HashMode::strat, HashMode::window})
      for (const int64_t buckets : {32, 4800}) {
        CAPTURE(name_of(mode));
        CAPTURE(buckets);
        const int64_t rows = 65, columns = 257, batch = 19;
        const auto v = HashedMatrix::linear({static_cast<uint64_t>(buckets), buckets, mode}, rows, columns);
        const auto w = random_values<T>(buckets, 1), x = random_values<T>(batch * columns, 2),
                   dy = random_values<T>(batch * rows, 3), d_dense = random_values<T>(rows * columns, 4);
        const double left = dot(dy, forward_on(device, v, w, batch, x)),
                     right = dot(bucket_gradient_on(device, v, batch, x, dy), w);
        CHECK(std::abs(left - right) < close * std::max(1.0, std::abs(left)));
        for (const int64_t bytes : {int64_t{0}, little}) {
          const double one = dot(d_dense, materialise_on(device, v, w)),
                       other = dot(scatter_on(device, v, d_dense, {{}, bytes}), w);
          CHECK(std::abs(one - other) < close * std::max(1.0, std::abs(one)));
        }
      }
}

TEST_CASE_TEMPLATE("scatter sums the signed elements of each bucket, exactly but for the last rounding", T,
                   float, double) {
  for (const Device device : other_devices())
    for (const HashMode mode : hash_modes)
      for (const auto& [rows, columns] : std::vector<std::array<int64_t, 2>>{{1, 1}, {3, 129}, {130, 33}}) {
        const auto v = HashedMatrix::linear({3, 64, mode}, rows, columns);
        const auto d_dense = random_values<T>(rows * columns, 5);
        std::vector<long double> sums(64);
        for (int64_t i = 0; i < rows; ++i)
          for (int64_t j = 0; j < columns; ++j) {
            const uint32_t slot = v.slot(i, j);
            const long double value = d_dense[static_cast<size_t>(i * columns + j)];
            sums[slot >> 1] += slot & 1 ? -value : value;
          }
        const std::vector<double> expected(sums.begin(), sums.end());
        for (const HashTuning& tuning :
             {HashTuning{}, HashTuning{{}, little}, HashTuning{HashKernel::reference}})
          CHECK(sum_error(scatter_on(device, v, d_dense, tuning), expected,
                          tuning.kernel == HashKernel::reference ? 64.0 : 1.0) < 1);
      }
}

TEST_CASE_TEMPLATE("bucket gradients keep their accuracy at any scale", T, float, double) {
  constexpr bool is_float = std::is_same_v<T, float>;
  for (const Device device : other_devices()) {
    const auto v = HashedMatrix::linear({3, 20, HashMode::full}, 17, 33);
    const auto x = random_values<T>(5 * 33, 1), dy = random_values<T>(5 * 17, 2);
    const auto exact = cpu::reference::bucket_gradient(v, 5, x.data(), dy.data());
    for (const int exponent :
         is_float ? std::vector<int>{-50, -30, 40, 60} : std::vector<int>{-500, -200, 300, 500}) {
      CAPTURE(exponent);
      auto scaled_x = x, scaled_dy = dy;  // by powers of two, so that the result only moves
      for (T& e : scaled_x) e = std::ldexp(e, exponent);
      for (T& e : scaled_dy) e = std::ldexp(e, exponent);
      auto dw = bucket_gradient_on(device, v, 5, scaled_x, scaled_dy);
      for (T& e : dw) e = std::ldexp(std::ldexp(e, -exponent), -exponent);
      CHECK(sum_error(dw, exact, 17 * 33) < 1);
    }
    std::vector<T> zero_x(5 * 33), zero_dy(5 * 17);
    for (const T e : bucket_gradient_on(device, v, 5, zero_x, zero_dy)) CHECK(e == 0);
  }
}

TEST_CASE("NaNs and infinities reach the results that they belong to, and no others") {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  const auto same_kind = [](const std::vector<float>& a, const std::vector<float>& b) {
    bool same = a.size() == b.size();
    for (size_t e = 0; e < a.size(); ++e)
      same = same && std::isnan(a[e]) == std::isnan(b[e]) && (!std::isinf(b[e]) || a[e] == b[e]) &&
             (!std::isfinite(b[e]) || std::abs(a[e] - b[e]) <= 1e-4f);
    return same;
  };
  for (const Device device : other_devices())
    for (const HashMode mode : {HashMode::full, HashMode::strat, HashMode::window}) {
      CAPTURE(name_of(mode));
      const int64_t rows = 20, columns = 37, batch = 6, buckets = 608;
      const auto v = HashedMatrix::linear({3, buckets, mode}, rows, columns);
      auto w = random_values<float>(buckets, 1), x = random_values<float>(batch * columns, 2),
           dy = random_values<float>(batch * rows, 3), y = poisoned<float>(batch * rows),
           dx = poisoned<float>(batch * columns), dw = poisoned<float>(buckets);
      w[5] = nan, w[77] = inf;
      x[3] = inf, x[2 * 37 + 7] = nan, dy[25] = -inf, dy[70] = nan;
      cpu::hashed_linear(v, w.data(), batch, x.data(), y.data());
      cpu::hashed_linear_input_gradient(v, w.data(), batch, dy.data(), dx.data());
      cpu::hashed_linear_bucket_gradient(v, batch, x.data(), dy.data(), dw.data());
      for (const HashKernel kernel : {HashKernel::tile, HashKernel::small_batch}) {
        CHECK(same_kind(forward_on(device, v, w, batch, x, {kernel}), y));
        CHECK(same_kind(input_gradient_on(device, v, w, batch, dy, {kernel}), dx));
      }
      const auto same_places = [](const std::vector<float>& a, const std::vector<float>& b) {
        bool same = a.size() == b.size();
        for (size_t e = 0; e < a.size(); ++e) same = same && std::isfinite(a[e]) == std::isfinite(b[e]);
        return same;
      };
      CHECK(same_places(forward_on(device, v, w, batch, x, {HashKernel::bf16}), y));
      CHECK(same_places(input_gradient_on(device, v, w, batch, dy, {HashKernel::bf16}), dx));
      CHECK(same_kind(bucket_gradient_on(device, v, batch, x, dy), dw));
      CHECK(same_kind(bucket_gradient_on(device, v, batch, x, dy, {{}, little}), dw));
    }
}

TEST_CASE("biases, addition to what is there and ReLU follow the product in all kernels") {
  for (const Device device : other_devices())
    for (const int64_t columns : {20, 300})
      for (const HashKernel kernel :
           {HashKernel::reference, HashKernel::small_batch, HashKernel::tile, HashKernel::bf16}) {
        CAPTURE(name_of(kernel));
        CAPTURE(columns);
        const int64_t rows = 9, batch = 11;
        const auto v = HashedMatrix::linear({1, 40, HashMode::full}, rows, columns);
        const auto w = random_values<float>(40, 1), x = random_values<float>(batch * columns, 2),
                   row_bias = random_values<float>(batch, 3), column_bias = random_values<float>(rows, 4),
                   old = random_values<float>(batch * rows, 5);
        auto expected = old;
        cpu::Epilogue<float> on_host{row_bias.data(), column_bias.data(), true, true};
        cpu::hashed_linear(v, w.data(), batch, x.data(), expected.data(), on_host);
        const DeviceArray<float> dw(device, w), dx(device, x), db(device, row_bias), dc(device, column_bias),
            y(device, old);
        cpu::Epilogue<float> there{db.data(), dc.data(), true, true};
        const HashTuning tuning{kernel};
        ON_ENGINE(device, hashed_linear(v, dw.data(), batch, dx.data(), y.data(), there, tuning));
        const auto got = y.host();
        const double tolerance =
            kernel == HashKernel::bf16 ? 0.1 : 1e-5;  // bf16: 2^-8 of a sum of sqrt(300) terms
        for (size_t e = 0; e < got.size(); ++e)
          CHECK(std::abs(static_cast<double>(got[e]) - static_cast<double>(expected[e])) < tolerance);
        cpu::Epilogue<float> relu;
        relu.relu = true;
        std::vector<float> with_nan = x;
        with_nan[0] = std::numeric_limits<float>::quiet_NaN();
        const DeviceArray<float> nan_x(device, with_nan);
        ON_ENGINE(device, hashed_linear(v, dw.data(), batch, nan_x.data(), y.data(), relu, tuning));
        const auto kept = y.host();
        for (int64_t o = 0; o < rows; ++o) CHECK(std::isnan(kept[static_cast<size_t>(o)]));
        for (int64_t o = 0; o < rows; ++o) CHECK(kept[static_cast<size_t>(rows + o)] >= 0);
      }
}

TEST_CASE("bf16 products are those of rounded weights and inputs") {
  const auto rounded = [](std::vector<float> values) {
    for (float& value : values) {
      uint32_t bits;
      std::memcpy(&bits, &value, sizeof bits);
      bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
      std::memcpy(&value, &bits, sizeof bits);
    }
    return values;
  };
  for (const Device device : other_devices())
    for (const HashMode mode : {HashMode::full, HashMode::strat, HashMode::window})
      for (const auto& [rows, columns, batch] :
           std::vector<std::array<int64_t, 3>>{{1, 1, 1}, {17, 33, 3}, {130, 70, 65}}) {
        CAPTURE(name_of(mode));
        CAPTURE(rows);
        const auto v = HashedMatrix::linear({3, 4096, mode}, rows, columns);
        const auto w = random_values<float>(4096, 1), x = random_values<float>(batch * columns, 2),
                   dy = random_values<float>(batch * rows, 3), w_rounded = rounded(w), x_rounded = rounded(x),
                   dy_rounded = rounded(dy);
        const auto y = cpu::reference::forward(v, w_rounded.data(), batch, x_rounded.data(),
                                               static_cast<const float*>(nullptr));
        const auto dx = cpu::reference::input_gradient(v, w_rounded.data(), batch, dy_rounded.data());
        for (const int64_t bytes : {int64_t{0}, int64_t{12000}}) {
          const HashTuning tuning{HashKernel::bf16, bytes};
          CHECK(sum_error(forward_on(device, v, w, batch, x, tuning), y, 4.0 * static_cast<double>(columns)) <
                1);
          CHECK(sum_error(input_gradient_on(device, v, w, batch, dy, tuning), dx,
                          4.0 * static_cast<double>(rows)) < 1);
        }
      }
}

TEST_CASE("products that a device cannot do are refused") {
  for (const Device device : other_devices()) {
    const auto text = HashedMatrix::linear({1, 10, HashMode::xxhash}, 3, 4);
    const auto w = random_values<float>(10, 1), x = random_values<float>(4, 2);
    CHECK_THROWS_AS(forward_on(device, text, w, 1, x, {HashKernel::small_batch}), Error);
    CHECK_THROWS_AS(forward_on(device, text, w, 1, x, {HashKernel::bf16}), Error);
    CHECK_THROWS_AS(forward_on(device, text, w, 1, x, {HashKernel::small_batch, 0, BucketTable::window}),
                    Error);
    const auto v = HashedMatrix::linear({1, 10, HashMode::full}, 3, 4);
    CHECK_THROWS_AS(forward_on(device, v, random_values<double>(10, 1), 1, random_values<double>(4, 2),
                               {HashKernel::bf16}),
                    Error);
    const DeviceArray<float> few(device, w);  // what is asked is refused before anything is read
    const auto ask = [&](int64_t batch) {
      ON_ENGINE(device, hashed_linear(v, few.data(), batch, few.data(), few.data(), cpu::Epilogue<float>{},
                                      {HashKernel::bf16}));
    };
    CHECK_ERROR(ask(65535 * 64 + 1), "hash: 4194241 samples are too many for one product in bf16");
  }
}

TEST_CASE("the plan of a hashed product names its kernel and why") {
  const HashPlan one = plan_hashed_linear(4096, 4096, 4096, HashMode::strat, 1);
  CHECK(one.kernel == HashKernel::small_batch);
  CHECK(one.table == BucketTable::signed_shared);
  CHECK(one.microseconds < 20);
  CHECK(plan_hashed_linear(4096, 4096, 50176, HashMode::full, 1).table == BucketTable::shared);
  CHECK(plan_hashed_linear(4096, 4096, 262144, HashMode::full, 1).table == BucketTable::global);
  CHECK(plan_hashed_linear(4096, 4096, 262144, HashMode::window, 1).table == BucketTable::window);
  const HashPlan many = plan_hashed_linear(4096, 4096, 4096, HashMode::full, 1024);
  CHECK(many.kernel == HashKernel::tile);
  CHECK(many.why.find("batch 1024: small_batch would take ") == 0);
  CHECK(plan_hashed_linear(10, 512, 80, HashMode::xxhash, 1).kernel == HashKernel::tile);
}

#endif
