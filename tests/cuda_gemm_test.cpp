#include <string>

#include "core/error.h"
#include "core/math_mode.h"
#include "cpu/gemm.h"
#include "cuda/cublas.h"
#include "cuda/gemm.h"
#include "tests/cuda_testing.h"

using namespace hashgrad;
using namespace hashgrad::cuda_testing;

namespace {

/// Both sides round each of k additions of terms up to 4 in magnitude, in different orders.
template <class T>
double tolerance(int64_t k) {
  return 2 * epsilon<T> * (8 + static_cast<double>(k));
}

/// A product with rows of the operands `gap` elements longer than they need be; 0, and extents that are
/// multiples of 4, is what packs of 16 bytes want.
struct Product {
  int64_t m, n, k;
  bool trans_a = false, trans_b = false;
  int64_t gap = 0;
  int64_t lda() const { return (trans_a ? m : k) + gap; }
  int64_t ldb() const { return (trans_b ? k : n) + gap; }
  int64_t ldc() const { return n + gap; }
};

std::string name(const Product& p) {
  return std::to_string(p.m) + " x " + std::to_string(p.n) + " x " + std::to_string(p.k) +
         (p.trans_a ? " At" : "") + (p.trans_b ? " Bt" : "") + " gap " + std::to_string(p.gap);
}

template <class T>
struct Operands {
  Tensor a, b, row_bias, column_bias;
  explicit Operands(const Product& p)
      : a(values<T>({p.trans_a ? p.k : p.m, p.lda()}, 1)),
        b(values<T>({p.trans_b ? p.n : p.k, p.ldb()}, 2)),
        row_bias(values<T>({p.m}, 3)),
        column_bias(values<T>({p.n}, 4)) {}
  Operands(const Operands& o, Device d)
      : a(o.a.to(d)), b(o.b.to(d)), row_bias(o.row_bias.to(d)), column_bias(o.column_bias.to(d)) {}
};

template <class T>
void multiply(Device d, const Product& p, const Operands<T>& o, const cpu::Epilogue<T>& epilogue, T* c) {
  HASHGRAD_ON(d, gemm(p.trans_a, p.trans_b, p.m, p.n, p.k, o.a.template data<T>(), p.lda(),
                      o.b.template data<T>(), p.ldb(), c, p.ldc(), epilogue));
}

/// The product with one of the epilogues 0 to 3; 2 adds it to C = A B.
template <class T>
void multiply(Device d, const Product& p, const Operands<T>& o, int mode, T* c) {
  cpu::Epilogue<T> epilogue;
  if (mode == 1) epilogue.row_bias = o.row_bias.template data<T>();
  if (mode >= 2) epilogue.column_bias = o.column_bias.template data<T>();
  epilogue.accumulate = mode == 2;
  epilogue.relu = mode == 3;
  if (mode == 2) multiply(d, p, o, cpu::Epilogue<T>{}, c);
  multiply(d, p, o, epilogue, c);
}

template <class T>
double error_of_product(Device device, const Product& p, int mode) {
  const Operands<T> here(p), there(here, device);
  // The gap behind the last row is not the function's: NaNs, which the CPU leaves too.
  return error_of<T>(device, p.m * p.ldc(),
                     [&](Device d, T* c) { multiply(d, p, d == Device{} ? here : there, mode, c); });
}

}  // namespace

TEST_CASE_TEMPLATE("cuda: matrix product agrees with the CPU's for all layouts, edges and epilogues", T,
                   float, double) {
  const int64_t sizes[][3] = {{1, 1, 1},   {3, 17, 33},  {17, 3, 1},   {33, 129, 17}, {129, 33, 129},
                              {0, 3, 4},   {3, 0, 4},    {5, 40, 321}, {130, 1, 700}, {1, 130, 700},
                              {61, 67, 0}, {32, 64, 48}, {16, 12, 520}};
  for (const Device device : other_devices())
    for (const auto& [m, n, k] : sizes)
      for (const int layout : {0, 1, 2, 3})
        for (const int64_t gap : {4, 3}) {
          const Product p{m, n, k, (layout & 1) != 0, (layout & 2) != 0, gap};
          CAPTURE(name(p));
          CHECK(error_of_product<T>(device, p, layout) <= tolerance<T>(k));
          if (gap == 3) CHECK(error_of_product<T>(device, p, 3 - layout) <= tolerance<T>(k));
        }
}

TEST_CASE("cuda: matrix product agrees with the CPU's on every tile") {
  const Product products[] = {{1500, 1420, 20},               // 128 x 128
                              {1490, 1411, 9, true},          // the same, odd
                              {700, 720, 20, false, true},    // 64 x 64
                              {690, 721, 9},                  // the same, odd
                              {32, 16400, 20},                // 32 x 128
                              {12, 16400, 20, true},          // 16 x 128
                              {16500, 12, 20, false, true}};  // 128 x 16
  for (const Device device : other_devices())
    for (const Product& p : products) {
      CAPTURE(name(p));
      CHECK(error_of_product<float>(device, p, 3) <= tolerance<float>(p.k));
    }
  for (const Device device : other_devices())
    CHECK(error_of_product<double>(device, {1500, 1420, 9}, 1) <= tolerance<double>(9));
}

TEST_CASE("cuda: an element of a matrix product does not depend on its neighbours") {
  // From one row to many, from one column to many: other tiles, parts spread over blocks or walked through by
  // one.
  const Product all{6, 4104, 1100, false, true};
  const Operands<float> data(all);
  for (const Device device : other_devices()) {
    const Operands<float> there(data, device);
    const auto rows = [&](int64_t m, int64_t n) {
      Product p = all;
      p.m = m;
      p.n = n;
      return output_of<float>(device, m * n, [&](Device d, float* c) {
        multiply(d, p, there, cpu::Epilogue<float>{.relu = true}, c);
      });
    };
    const std::vector<float> whole = rows(all.m, all.n);
    for (const auto& [m, n] : {std::pair<int64_t, int64_t>{1, all.n}, {2, 100}, {6, 64}, {3, 1}}) {
      const std::vector<float> some = rows(m, n);
      for (int64_t i = 0; i < m; ++i)
        CHECK(std::memcmp(&some[static_cast<size_t>(i * n)], &whole[static_cast<size_t>(i * all.n)],
                          static_cast<size_t>(n) * sizeof(float)) == 0);
    }
  }
}

TEST_CASE("cuda: a row of a matrix product has the same bits in a batch that takes the largest tile") {
  const Product all{1500, 1420, 40, false, true};
  const Operands<float> data(all);
  for (const Device device : other_devices()) {
    const Operands<float> there(data, device);
    const auto whole = output_of<float>(device, all.m * all.n, [&](Device d, float* c) {
      multiply(d, all, there, cpu::Epilogue<float>{}, c);
    });
    Product one = all;
    one.m = 3;
    const auto some = output_of<float>(device, one.m * one.n, [&](Device d, float* c) {
      multiply(d, one, there, cpu::Epilogue<float>{}, c);
    });
    CHECK(same_bits(some, {whole.begin(), whole.begin() + one.m * one.n}));
  }
}

TEST_CASE("cuda: matrix product in bf16 agrees with the CPU's for all layouts, edges, epilogues and tiles") {
  const int64_t sizes[][3] = {{1, 1, 1}, {3, 17, 33},  {17, 3, 1},   {33, 129, 17}, {65, 130, 129},
                              {3, 0, 4}, {5, 40, 321}, {1, 70, 700}, {7, 5, 0},     {16, 12, 520}};
  const MathScope bf16(Math::bf16);
  for (const Device device : other_devices()) {
    for (const auto& [m, n, k] : sizes)
      for (const int layout : {0, 1, 2, 3})
        for (const int64_t gap : {4, 3}) {
          const Product p{m, n, k, (layout & 1) != 0, (layout & 2) != 0, gap};
          CAPTURE(name(p));
          CHECK(error_of_product<float>(device, p, layout) <= tolerance<float>(k));
        }
    CHECK(error_of_product<float>(device, {1500, 1420, 20}, 3) <= tolerance<float>(20));  // 128 x 128
    CHECK(error_of_product<double>(device, {17, 33, 9}, 1) <= tolerance<double>(9));
  }
}

TEST_CASE("cuda: a row of a matrix product in bf16 has the same bits on either tile, in parts or not") {
  const Product all{1500, 1420, 600, false, true};
  const Operands<float> data(all);
  const MathScope bf16(Math::bf16);
  for (const Device device : other_devices()) {
    const Operands<float> there(data, device);
    const auto rows = [&](int64_t m) {
      Product p = all;
      p.m = m;
      return output_of<float>(device, m * p.n,
                              [&](Device d, float* c) { multiply(d, p, there, cpu::Epilogue<float>{}, c); });
    };
    const auto whole = rows(all.m);
    CHECK(same_bits(rows(3), {whole.begin(), whole.begin() + 3 * all.n}));
  }
}

TEST_CASE("cuda: NaN, infinity and denormals go through a matrix product as they do on the CPU") {
  const float nan = NAN, inf = INFINITY, tiny = std::numeric_limits<float>::denorm_min();
  const Tensor a = Tensor::of<float>({1, -1, 0, 0.5f}, {2, 2}),
               b = Tensor::of<float>({nan, 2, inf, 4 * tiny, 0, 0, 1, 8 * tiny}, {2, 4});
  for (const Device device : other_devices())
    for (const bool relu : {false, true}) {
      const auto product = [&](Device d, float* c) {
        const Tensor x = a.to(d), y = b.to(d);
        HASHGRAD_ON(d, gemm<float>(false, false, 2, 4, 2, x.data<float>(), 2, y.data<float>(), 4, c, 4,
                                   {.relu = relu}));
      };
      const std::vector<float> here = output_of<float>(Device{}, 8, product),
                               there = output_of<float>(device, 8, product);
      CHECK(relative_error(there, here, 0) == 0);
      CHECK(std::isnan(there[0]));
      CHECK(there[2] == inf);
      CHECK(there[7] == 4 * tiny);
    }
}

TEST_CASE("cuda: a matrix product that cannot be is refused") {
  for (const Device device : other_devices()) {
    Tensor x = Tensor::zeros({8}, DType::float32, device);
    float* p = x.data<float>();
    const auto multiply_rows = [&](int64_t lda, int64_t ldb, int64_t ldc) {
      HASHGRAD_ON(device, gemm<float>(false, false, 2, 2, 2, p, lda, p, ldb, p, ldc));
    };
    CHECK_THROWS_AS(multiply_rows(1, 2, 2), Error);
    CHECK_THROWS_AS(multiply_rows(2, 1, 2), Error);
    CHECK_THROWS_AS(multiply_rows(2, 2, 1), Error);
  }
}

#if HASHGRAD_WITH_EMULATOR
TEST_CASE("cuda: the emulator says that it has no cuBLAS, and goes on with its own product") {
  CHECK_THROWS_WITH_AS(emu::set_blas(Blas::cublas), "the emulator has no cuBLAS", Error);
  CHECK_NOTHROW(emu::set_blas(Blas::own));
  CHECK(emu::blas() == Blas::own);
}
#endif

#if HASHGRAD_WITH_CUDA
TEST_CASE("cuda: cuBLAS, where it can be loaded, agrees with the CPU") {
  try {
    cuda::set_blas(Blas::cublas);
  } catch (const Error& error) {
    CHECK(std::string(error.what()).find("cuBLAS") != std::string::npos);
    CHECK(cuda::blas() == Blas::own);
    return;
  }
  for (const int mode : {0, 1, 2, 3}) {
    const Product p{300, 260, 270, mode > 1, mode % 2 == 1, 3};
    CHECK(error_of_product<float>(Device{Device::Kind::cuda}, p, mode) <= tolerance<float>(p.k));
    CHECK(error_of_product<double>(Device{Device::Kind::cuda}, p, mode) <= tolerance<double>(p.k));
  }
  cuda::set_blas(Blas::own);
}
#endif
