// What kernels rely on, on every engine of this machine: barriers, shared memory, warp operations, atomics,
// tensor cores.
#include "cuda/engines.h"

#if HASHGRAD_WITH_CUDA || HASHGRAD_WITH_EMULATOR

#include <algorithm>
#include <cstdint>
#include <doctest/doctest.h>
#include <numeric>
#include <vector>

#include "core/parallel.h"
#include "core/random.h"
#include "tests/emulator/engine_types.h"

#if HASHGRAD_WITH_EMULATOR
#include "cuda/emulator/options.h"
#endif

namespace hashgrad::testing {
namespace {

std::vector<int> numbers(int n, uint64_t key, uint32_t below) {
  Random random(key, hashgrad::Stream::test);
  std::vector<int> values(static_cast<size_t>(n));
  for (int& v : values) v = static_cast<int>(random.below(below));
  return values;
}

std::vector<float> fractions(int n, uint64_t key) {
  Random random(key, hashgrad::Stream::test);
  std::vector<float> values(static_cast<size_t>(n));
  for (float& v : values) v = random.uniform() - 0.5f;
  return values;
}

TEST_CASE_TEMPLATE("engine: barriers and shared memory", Engine, HASHGRAD_ENGINE_TYPES) {
  HASHGRAD_NEED(Engine);
  const std::vector<int> x = numbers(128 * 9, 1, 1u << 30);
  Buffer<Engine, int> device(x);
  Engine::reverse_runs(static_cast<int>(x.size()), device.data());
  std::vector<int> expected = x;
  for (auto at = expected.begin(); at != expected.end(); at += 128) std::reverse(at, at + 128);
  CHECK(device.get() == expected);

  const int n = 53;
  const std::vector<float> matrix = fractions(n * n, 2);
  Buffer<Engine, float> from(matrix), to(matrix.size());
  Engine::transpose(n, from.data(), to.data());
  const std::vector<float> turned = to.get();
  size_t wrong = 0;
  for (size_t r = 0; r < n; ++r)
    for (size_t c = 0; c < n; ++c) wrong += turned[c * n + r] != matrix[r * n + c];
  CHECK(wrong == 0);

  Buffer<Engine, float> big(128);
  Engine::big_shared(128, big.data());
  CHECK(big.get()[3] == 16380);
}

TEST_CASE_TEMPLATE("engine: shuffles", Engine, HASHGRAD_ENGINE_TYPES) {
  HASHGRAD_NEED(Engine);
  const std::vector<int> in = numbers(32, 3, 1000);
  Buffer<Engine, int> device(in), out(7 * 32);
  Engine::shuffles(device.data(), out.data());
  const std::vector<int> got = out.get();
  for (int lane = 0; lane < 32; ++lane) {
    CAPTURE(lane);
    const auto value = [&](int row) { return got[static_cast<size_t>(row * 32 + lane)]; };
    const auto at = [&](int source) { return in[static_cast<size_t>(source)]; };
    const int in_group = lane % 8;
    CHECK(value(0) == at(5));
    CHECK(value(1) == at(lane ^ 3));
    CHECK(value(2) == at(lane < 2 ? lane : lane - 2));
    CHECK(value(3) == at(lane > 29 ? lane : lane + 2));
    CHECK(value(4) == at(lane ^ 3));
    CHECK(value(5) == at(in_group < 2 ? lane : lane - 2));
    CHECK(value(6) == at(in_group > 5 ? lane : lane + 2));
  }
}

TEST_CASE_TEMPLATE("engine: votes", Engine, HASHGRAD_ENGINE_TYPES) {
  HASHGRAD_NEED(Engine);
  std::vector<int> in = numbers(32, 4, 6);
  in[20] = 7;
  Buffer<Engine, int> device(in);
  Buffer<Engine, unsigned> out(4 * 32);
  Engine::votes(device.data(), out.data());
  const std::vector<unsigned> got = out.get();
  for (size_t lane = 0; lane < 32; ++lane) {
    unsigned odd = 0, same = 0;
    for (size_t other = 0; other < 32; ++other) {
      odd |= static_cast<unsigned>(in[other] % 2) << other;
      same |= static_cast<unsigned>(in[other] == in[lane]) << other;
    }
    CHECK(got[lane] == odd);
    CHECK(got[32 + lane] == 1);
    CHECK(got[64 + lane] == 1);
    CHECK(got[96 + lane] == same);
  }

  const std::vector<int> x = numbers(200, 5, 7);  // below 7, and 0 among them
  Buffer<Engine, int> block(x), results(3);
  Engine::block_votes(200, block.data(), results.data());
  const int odd = static_cast<int>(std::count_if(x.begin(), x.end(), [](int v) { return v % 2 != 0; }));
  CHECK(results.get() == std::vector<int>{odd, 0, 0});
}

TEST_CASE_TEMPLATE("engine: atomics", Engine, HASHGRAD_ENGINE_TYPES) {
  HASHGRAD_NEED(Engine);
  const std::vector<int> x = numbers(1000, 6, 100000);
  Buffer<Engine, int> device(x), ints(std::vector<int>{0, -1, 1 << 30, 0, 0});
  Buffer<Engine, unsigned long long> big(std::vector<unsigned long long>{0});
  Buffer<Engine, float> single(std::vector<float>{0});
  Buffer<Engine, double> twice(std::vector<double>{0});
  Engine::atomics(1000, device.data(), ints.data(), big.data(), single.data(), twice.data());
  const int sum = std::accumulate(x.begin(), x.end(), 0);
  const auto [low, high] = std::minmax_element(x.begin(), x.end());
  CHECK(ints.get() == std::vector<int>{sum, *high, *low, 0xffff, 1000});
  CHECK(big.get()[0] == 1000ull << 33);
  CHECK(single.get()[0] == 1000);
  CHECK(twice.get()[0] == 500);

  const std::vector<int> values = numbers(5000, 7, 37);
  std::vector<unsigned> expected(37);
  for (const int v : values) ++expected[static_cast<size_t>(v)];
  Buffer<Engine, int> from(values);
  Buffer<Engine, unsigned> counts(Buffer<Engine, unsigned>::zeros(37));
  Engine::histogram(5000, from.data(), 37, counts.data());
  CHECK(counts.get() == expected);
}

/// The sum of 32 numbers in the order of a butterfly.
float butterfly(const float* x) {
  std::vector<float> v(x, x + 32);
  for (size_t distance = 16; distance > 0; distance /= 2) {
    const std::vector<float> before = v;
    for (size_t l = 0; l < 32; ++l) v[l] = before[l] + before[l ^ distance];
  }
  return v[0];
}

TEST_CASE_TEMPLATE("engine: warp_reduce and block_reduce have one order", Engine, HASHGRAD_ENGINE_TYPES) {
  HASHGRAD_NEED(Engine);
  const int n = 128 * 5;
  const std::vector<float> x = fractions(n, 8);
  Buffer<Engine, float> device(x), of_warp(n / 32), of_block(n / 128);
  Engine::sums(n, device.data(), of_warp.data(), of_block.data());
  const std::vector<float> warps = of_warp.get(), blocks = of_block.get();
  for (size_t w = 0; w < warps.size(); ++w) CHECK(warps[w] == butterfly(&x[w * 32]));
  for (size_t b = 0; b < blocks.size(); ++b) {
    std::vector<float> parts(32);
    std::copy_n(&warps[b * 4], 4, parts.begin());
    CHECK(blocks[b] == butterfly(parts.data()));
  }
}

TEST_CASE_TEMPLATE("engine: reductions of pairs", Engine, HASHGRAD_ENGINE_TYPES) {
  HASHGRAD_NEED(Engine);
  const int rows = 7, columns = 301;
  std::vector<float> x = fractions(rows * columns, 9);
  x[3 * columns + 100] = x[3 * columns + 200] = 2;  // equals: the first counts
  Buffer<Engine, float> device(x), value(rows);
  Buffer<Engine, int> index(rows);
  Engine::argmax(rows, columns, device.data(), value.data(), index.data());
  const std::vector<int> got = index.get();
  for (int r = 0; r < rows; ++r) {
    const auto row = x.begin() + r * columns;
    CHECK(got[static_cast<size_t>(r)] == std::max_element(row, row + columns) - row);
  }
  CHECK(value.get()[3] == 2);
}

TEST_CASE_TEMPLATE("engine: the last block finds what the others wrote", Engine, HASHGRAD_ENGINE_TYPES) {
  HASHGRAD_NEED(Engine);
  const int n = 128 * 40 + 3;
  Buffer<Engine, float> x(std::vector<float>(static_cast<size_t>(n), 1.0f)), partial(41), sum(1);
  Buffer<Engine, unsigned> ticket(std::vector<unsigned>{0});
  for (int time = 0; time < 2; ++time) {
    Engine::sum_at_once(n, x.data(), partial.data(), ticket.data(), sum.data());
    CHECK(sum.get()[0] == static_cast<float>(n));
  }
}

TEST_CASE_TEMPLATE("engine: cp.async", Engine, HASHGRAD_ENGINE_TYPES) {
  HASHGRAD_NEED(Engine);
  const int n = 64 * 6;
  const std::vector<float> x = fractions(n + 1, 10);
  Buffer<Engine, float> from(x), to(static_cast<size_t>(n));
  Engine::add_neighbours(n, from.data(), to.data());
  const std::vector<float> y = to.get();
  size_t wrong = 0;
  for (size_t i = 0; i < y.size(); ++i) wrong += y[i] != x[i] + x[i + 1];
  CHECK(wrong == 0);
}

TEST_CASE_TEMPLATE("engine: tensor cores against a plain product", Engine, HASHGRAD_ENGINE_TYPES) {
  HASHGRAD_NEED(Engine);
  if (Engine::properties().major < 8) return;
  // Small whole numbers are exact in bf16 and tf32, and so are their sums: the layout is what is tested.
  const auto check_product = [](int depth, const auto& multiply) {
    std::vector<float> a, b, expected(16 * 8);
    for (const int v : numbers(16 * depth, 11, 9)) a.push_back(static_cast<float>(v - 4));
    for (const int v : numbers(depth * 8, 12, 9)) b.push_back(static_cast<float>(v - 4));
    for (int i = 0; i < 16; ++i)
      for (int j = 0; j < 8; ++j)
        for (int k = 0; k < depth; ++k)
          expected[static_cast<size_t>(i * 8 + j)] +=
              a[static_cast<size_t>(i * depth + k)] * b[static_cast<size_t>(k * 8 + j)];
    Buffer<Engine, float> da(a), db(b), dc(expected.size());
    multiply(da.data(), db.data(), dc.data());
    CHECK(dc.get() == expected);
  };
  check_product(16, Engine::mma_bf16);
  check_product(8, Engine::mma_tf32);
}

TEST_CASE_TEMPLATE("engine: built-in functions on bits", Engine, HASHGRAD_ENGINE_TYPES) {
  HASHGRAD_NEED(Engine);
  Buffer<Engine, unsigned> out(11);
  Engine::bits(0x00f0e001u, out.data());
  const std::vector<unsigned> expected = {8,           8,           1,           0x80070f00u,
                                          0x2a7a6u,    0x00f0e001u, 0x00f0e001u, 0x3f80,
                                          0x3f802000u, 0x40000000u, 0x3f810000u};
  std::vector<unsigned> got = out.get();
  CHECK(got[4] == static_cast<unsigned>(uint64_t{0x00f0e001u} * (3 * 0x00f0e001u) >> 32));
  got[4] = expected[4];
  CHECK(got == expected);
}

#if HASHGRAD_WITH_EMULATOR

/// Options of the emulator as long as this lives.
class WithOptions {
 public:
  explicit WithOptions(const emulator::Options& options) : before_(emulator::options()) {
    emulator::set_options(options);
  }
  ~WithOptions() { emulator::set_options(before_); }
  WithOptions(const WithOptions&) = delete;
  WithOptions& operator=(const WithOptions&) = delete;

 private:
  emulator::Options before_;
};

TEST_CASE(
    "emulator: the bits do not depend on the order of threads and blocks, nor on the threads of the host") {
  const int n = 128 * 20;
  const std::vector<float> x = fractions(n, 13);
  const auto result = [&] {
    Buffer<Emulator, float> device(x), of_warp(n / 32), of_block(n / 128);
    Emulator::sums(n, device.data(), of_warp.data(), of_block.data());
    Buffer<Emulator, float> matrix(static_cast<size_t>(n));
    Emulator::transpose(50, device.data(), matrix.data());
    std::vector<float> all = of_block.get(), turned = matrix.get();
    all.insert(all.end(), turned.begin(), turned.begin() + 2500);
    return all;
  };
  const std::vector<float> expected = result();
  using emulator::Order;
  for (const Order order : {Order::ascending, Order::descending, Order::random}) {
    for (const uint64_t seed : {1u, 2u}) {
      const WithOptions options({order, seed, false});
      CHECK(result() == expected);
    }
  }
  const int before = threads();
  for (const int n_threads : {1, 2, 3}) {
    set_threads(n_threads);
    CHECK(result() == expected);
  }
  set_threads(before);
}

TEST_CASE("emulator: a million barriers") {
#ifdef __SANITIZE_THREAD__
  const int blocks = 4, size = 64, repeats = 50;  // not quite
#else
  const int blocks = 16, size = 256, repeats = 250;
#endif
  Buffer<Emulator, int> out(blocks * size);
  Emulator::many_barriers(blocks, size, repeats, out.data());
  CHECK(out.get() == std::vector<int>(blocks * size, repeats * (repeats - 1) / 2));
}

#endif

}  // namespace
}  // namespace hashgrad::testing

#endif
