#include "core/error.h"
#include "core/math_mode.h"
#include "cpu/gemm.h"
#include "cpu/kept_panels.h"
#include "tests/cpu_testing.h"

namespace {

using namespace hashgrad;
using namespace hashgrad::cpu_testing;

struct Size {
  int64_t m, n, k;
};
const Size sizes[] = {{1, 1, 1},    {3, 17, 33},   {17, 3, 1},    {33, 129, 17}, {129, 33, 129}, {6, 16, 320},
                      {5, 40, 321}, {130, 1, 700}, {1, 130, 700}, {14, 33, 650}, {61, 67, 0}};

template <class T>
T element(const std::vector<T>& x, bool transposed, int64_t row, int64_t column, int64_t stride) {
  return x[static_cast<size_t>(transposed ? column * stride + row : row * stride + column)];
}

/// A * B in double.
template <class T>
std::vector<double> product(bool trans_a, bool trans_b, const Size& s, const std::vector<T>& a, int64_t lda,
                            const std::vector<T>& b, int64_t ldb) {
  std::vector<double> c(static_cast<size_t>(s.m * s.n));
  for (int64_t i = 0; i < s.m; ++i)
    for (int64_t j = 0; j < s.n; ++j)
      for (int64_t k = 0; k < s.k; ++k)
        c[static_cast<size_t>(i * s.n + j)] += static_cast<double>(element(a, trans_a, i, k, lda)) *
                                               static_cast<double>(element(b, trans_b, k, j, ldb));
  return c;
}

/// All epilogues; rows of C have n + 2 elements, of which the last two must survive.
template <class T>
void compare_with_oracle(bool trans_a, bool trans_b, const Size& s) {
  const int64_t lda = (trans_a ? s.m : s.k) + 3, ldb = (trans_b ? s.k : s.n) + 1, ldc = s.n + 2;
  const auto a = random_values<T>(lda * (trans_a ? s.k : s.m), 1),
             b = random_values<T>(ldb * (trans_b ? s.n : s.k), 2);
  const auto row_bias = random_values<T>(s.m, 3), column_bias = random_values<T>(s.n, 4);
  const std::vector<double> exact = product(trans_a, trans_b, s, a, lda, b, ldb);
  for (const int mode : {0, 1, 2, 3}) {
    const cpu::Epilogue<T> epilogue{mode & 1 ? row_bias.data() : nullptr,
                                    mode & 1 ? nullptr : column_bias.data(), mode == 2, mode == 3};
    const auto before = mode == 2 ? random_values<T>(s.m * ldc, 5) : poisoned<T>(s.m * ldc);
    std::vector<double> want(before.size(), 7);
    for (int64_t i = 0; i < s.m; ++i)
      for (int64_t j = 0; j < s.n; ++j) {
        double& x = want[static_cast<size_t>(i * ldc + j)];
        x = exact[static_cast<size_t>(i * s.n + j)];
        if (epilogue.accumulate) x += before[static_cast<size_t>(i * ldc + j)];
        x += epilogue.row_bias ? row_bias[static_cast<size_t>(i)] : column_bias[static_cast<size_t>(j)];
        if (epilogue.relu) x = std::max(x, 0.0);
      }
    for_each_isa([&] {
      auto c = before;
      for (int64_t i = 1; i <= s.m; ++i)
        c[static_cast<size_t>(i * ldc - 1)] = c[static_cast<size_t>(i * ldc - 2)] = 7;
      cpu::gemm(trans_a, trans_b, s.m, s.n, s.k, a.data(), lda, b.data(), ldb, c.data(), ldc, epilogue);
      CHECK(distance(c, want) <= tolerance<T>(s.k));
    });
  }
}

TEST_CASE_TEMPLATE("matrix product agrees with the loops of its definition", T, float, double) {
  for (const Size& s : sizes)
    for (const bool trans_a : {false, true})
      for (const bool trans_b : {false, true}) {
        CAPTURE(s.m);
        CAPTURE(s.n);
        CAPTURE(s.k);
        compare_with_oracle<T>(trans_a, trans_b, s);
      }
}

TEST_CASE("matrix product gives the same bits for any number of threads") {
  const auto a = random_values<float>(70 * 400, 1), b = random_values<float>(400 * 300, 2);
  check_threads([&] {
    auto c = poisoned<float>(70 * 300);
    cpu::gemm<float>(false, false, 70, 300, 400, a.data(), 400, b.data(), 300, c.data(), 300);
    return c;
  });
}

TEST_CASE("a row of a matrix product does not depend on the other rows") {
  for_each_isa([] {
    const int64_t m = 131, n = 37, k = 650;
    const auto a = random_values<float>(m * k, 1), b = random_values<float>(n * k, 2);
    auto all = poisoned<float>(m * n);
    cpu::gemm<float>(false, true, m, n, k, a.data(), k, b.data(), k, all.data(), n);
    for (const int64_t count : {1, 3, 40}) {
      auto some = poisoned<float>(count * n);
      cpu::gemm<float>(false, true, count, n, k, a.data() + 80 * k, k, b.data(), k, some.data(), n);
      CHECK(std::memcmp(some.data(), all.data() + 80 * n, some.size() * sizeof(float)) == 0);
    }
  });
}

/// Few rows of A go past B as it lies in memory, many meet it packed: sizes at every edge of a vector, a tile
/// and a block of depth.
template <class T>
void compare_few_rows_with_many(bool trans_b, int64_t n, int64_t k) {
  const int64_t many = 70, lda = k + 3, ldb = (trans_b ? k : n) + 1;
  const auto a = random_values<T>(many * lda, 1), b = random_values<T>(ldb * (trans_b ? n : k), 2);
  const auto column_bias = random_values<T>(n, 3), before = random_values<T>(many * n, 4);
  for (const bool accumulate : {false, true}) {
    const cpu::Epilogue<T> epilogue{nullptr, column_bias.data(), accumulate, !accumulate};
    auto all = before;
    cpu::gemm(false, trans_b, many, n, k, a.data(), lda, b.data(), ldb, all.data(), n, epilogue);
    for (const int64_t rows : {1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13}) {
      CAPTURE(rows);
      const int64_t first = 20;
      std::vector<T> some(before.begin() + first * n, before.begin() + (first + rows) * n);
      cpu::gemm(false, trans_b, rows, n, k, a.data() + first * lda, lda, b.data(), ldb, some.data(), n,
                epilogue);
      CHECK(same_bits(some, std::vector<T>(all.begin() + first * n, all.begin() + (first + rows) * n)));
    }
  }
}

TEST_CASE_TEMPLATE("few rows of a matrix product have the bits that they have among many", T, float, double) {
  for_each_isa([] {
    for (const bool trans_b : {false, true})
      for (const int64_t n : {0, 1, 3, 17, 33, 129, 300})
        for (const int64_t k : {0, 1, 3, 17, 33, 129, 650}) {
          CAPTURE(trans_b);
          CAPTURE(n);
          CAPTURE(k);
          compare_few_rows_with_many<T>(trans_b, n, k);
        }
  });
}

TEST_CASE_TEMPLATE("a kept matrix is packed once and gives the same bits", T, float, double) {
  for (const Size& s : sizes)
    for (const bool trans_b : {false, true})
      for_each_isa([&] {
        const int64_t ldb = (trans_b ? s.k : s.n) + 1;
        const auto a = random_values<T>(s.m * s.k, 1);
        auto b = random_values<T>(ldb * (trans_b ? s.n : s.k), 2);
        const auto times_b = [&] {
          auto c = poisoned<T>(s.m * s.n);
          cpu::gemm(false, trans_b, s.m, s.n, s.k, a.data(), s.k, b.data(), ldb, c.data(), s.n);
          return c;
        };
        const auto want = times_b();
        const bool packs = s.m > cpu::gemm_kernels().of<T>().mr || s.k == 0;  // zero is zero
        {
          const cpu::KeepPanels kept({b.data()});
          CHECK(times_b() == want);
          auto narrow = poisoned<T>(s.m * (s.n - 1));  // the same numbers, but other panels
          cpu::gemm(false, trans_b, s.m, s.n - 1, s.k, a.data(), s.k, b.data(), ldb, narrow.data(), s.n - 1);
          for (size_t i = 0; i < narrow.size(); ++i)
            REQUIRE(narrow[i] == want[i + i / static_cast<size_t>(s.n - 1)]);
          { const cpu::KeepPanels another({a.data()}); }  // goes, and the outer one stays
          const cpu::KeepPanels inner({b.data()});        // finds what the outer one keeps
          std::ranges::fill(b, T{0});                     // breaks the promise, to see that panels are read
          CHECK((times_b() == want) == packs);
        }
        CHECK(times_b() == std::vector<T>(want.size(), T{0}));
      });
}

TEST_CASE("an operand larger than the shared stripe is packed in parts") {
  // More rows and columns than sixteen panels, in a stripe of no more: A is shared, then B.
  for (const auto& [m, n, k] : {Size{200, 210, 11000}, {530, 520, 4100}}) {
    const auto a = random_values<float>(m, 1), b = random_values<float>(n, 2);
    // Rank one: A[i, k] = a[i], B[k, j] = b[j], made by packers, so that the product is known without a
    // triple loop.
    const auto pack_by = [](const std::vector<float>& values) -> cpu::Packer<float> {
      return [&values](const cpu::PackBlock& block, float* panels) {
        const int64_t lanes = (block.count + block.width - 1) / block.width * block.width;
        for (int64_t i = 0; i < lanes; ++i)
          for (int64_t d = 0; d < block.depth; ++d)
            panels[(i / block.width * block.depth + d) * block.width + i % block.width] =
                i < block.count ? values[static_cast<size_t>(block.first + i)] : 0.0f;
      };
    };
    auto c = poisoned<float>(m * n);
    cpu::gemm_packed<float>(m, n, k, pack_by(a), pack_by(b), c.data(), n);
    double worst = 0;
    for (int64_t i = 0; i < m * n; ++i) {
      const double want = static_cast<double>(k) * static_cast<double>(a[static_cast<size_t>(i / n)]) *
                          static_cast<double>(b[static_cast<size_t>(i % n)]);
      worst = std::max(worst, std::abs(static_cast<double>(c[static_cast<size_t>(i)]) - want));
    }
    CHECK(worst < 0.5);
  }
}

TEST_CASE("in bf16, too, an operand larger than the shared stripe is packed in parts, with every epilogue") {
  // Whole numbers: A[i, k] = a[i] s[k], B[k, j] = b[j] s[k], s = -1, 0, 1, ... The smaller operand takes 10
  // MB, in parts of 96 rows or columns.
  const int64_t k = 40000, squares = k - (k + 1) / 3;
  const MathScope scope(Math::bf16);
  for (const auto& [m, n] : {std::pair<int64_t, int64_t>{130, 131}, {131, 130}}) {
    const auto sign = [](int64_t i) { return static_cast<float>(i % 3 - 1); };
    const auto factor = [](int64_t i) { return static_cast<float>(i % 7 - 3); };
    std::vector<float> a, b, row_bias, c(static_cast<size_t>(m * n), 5.0f), want;
    for (int64_t i = 0; i < m * k; ++i) a.push_back(factor(i / k) * sign(i % k));
    for (int64_t i = 0; i < n * k; ++i) b.push_back(factor(i / k) * sign(i % k));
    for (int64_t i = 0; i < m; ++i) row_bias.push_back(static_cast<float>(i));
    for (int64_t i = 0; i < m * n; ++i)
      want.push_back(std::max(0.0f, static_cast<float>(squares) * factor(i / n) * factor(i % n) + 5.0f +
                                        row_bias[static_cast<size_t>(i / n)]));
    cpu::gemm(false, true, m, n, k, a.data(), k, b.data(), k, c.data(), n,
              {.row_bias = row_bias.data(), .accumulate = true, .relu = true});
    CHECK(same_bits(c, want));
  }
}

TEST_CASE("relu in the epilogue lets NaN through and an infinite weight reaches only its column") {
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  const std::vector<float> a{1, -1}, b{nan, 2, inf};
  auto c = poisoned<float>(6);
  cpu::gemm<float>(false, false, 2, 3, 1, a.data(), 1, b.data(), 3, c.data(), 3, {.relu = true});
  CHECK(std::isnan(c[0]));
  CHECK(std::isnan(c[3]));
  CHECK(c[1] == 2);
  CHECK(c[4] == 0);
  CHECK(c[2] == inf);
  CHECK(c[5] == 0);
}

TEST_CASE("rows that are too short are refused") {
  float x[8] = {};
  CHECK_THROWS_AS(cpu::gemm<float>(false, false, 2, 2, 2, x, 1, x, 2, x + 4, 2), Error);
  CHECK_THROWS_AS(cpu::gemm<float>(false, false, 2, 2, 2, x, 2, x, 1, x + 4, 2), Error);
  CHECK_THROWS_AS(cpu::gemm<float>(false, false, 2, 2, 2, x, 2, x, 2, x + 4, 1), Error);
}

TEST_CASE("an instruction set that this machine lacks is refused") {
  for (const cpu::Isa isa : {cpu::Isa::avx2, cpu::Isa::avx512, cpu::Isa::avx512bf16, cpu::Isa::amx})
    if (!cpu::isa_supported(isa)) CHECK_THROWS_AS(cpu::set_isa(isa), Error);
}

TEST_CASE("empty products leave an empty result alone") {
  float untouched = 3;
  cpu::gemm<float>(false, false, 0, 1, 1, &untouched, 1, &untouched, 1, &untouched, 1);
  cpu::gemm<float>(false, false, 1, 0, 1, &untouched, 1, &untouched, 1, &untouched, 1);
  CHECK(untouched == 3);
}

}  // namespace
