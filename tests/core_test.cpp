// Shapes, tensors and their views, random numbers, parallel loops, the account of memory.
#include <atomic>
#include <chrono>
#include <cmath>
#include <doctest/doctest.h>
#include <fstream>
#include <numeric>
#include <set>
#include <sys/resource.h>
#include <thread>
#include <unistd.h>

#include "core/device.h"
#include "core/parallel.h"
#include "core/random.h"
#include "core/tensor.h"
#include "tests/error_of.h"

namespace hashgrad {
namespace {

Tensor counting(const Shape& shape) {
  std::vector<double> values(static_cast<size_t>(shape.numel()));
  std::iota(values.begin(), values.end(), 0.0);
  return Tensor::of(values, shape);
}

TEST_CASE("shapes count, print and compare") {
  const Shape s{2, 3, 4};
  CHECK(s.numel() == 24);
  CHECK(s[-1] == 4);
  CHECK(to_string(s) == "[2,3,4]");
  CHECK(Shape{}.numel() == 1);
  CHECK(to_string(Shape{}) == "[]");
  CHECK(s.without(1) == Shape{2, 4});
  CHECK(s.with(1, 7) == Shape{2, 7, 3, 4});
  CHECK(s.row_major_strides() == Shape{12, 4, 1});
  CHECK(Shape{2, 0}.numel() == 0);
  CHECK_ERROR(s[3], "no axis 3 in [2,3,4]");
  CHECK_ERROR((Shape{2, -1}), "axis 1 has size -1");
  CHECK_ERROR((Shape{int64_t{1} << 30, int64_t{1} << 30}), "more than 2^40");
  for (const int up : {24, 31, 32, 40})  // products that wrap
    CHECK_ERROR((Shape{int64_t{1} << 40, int64_t{1} << up}), "more than 2^40");
  CHECK(Shape{int64_t{1} << 20, int64_t{1} << 20}.numel() == int64_t{1} << 40);
  CHECK_ERROR((Shape{0, int64_t{1} << 62}), "axis 1 has size");
  CHECK_ERROR((Shape{1, 1, 1, 1, 1, 1, 1, 1, 1}), "at most 8");
}

TEST_CASE("shapes broadcast from the back") {
  CHECK(broadcast({3, 1}, {2, 1, 4}, "op") == Shape{2, 3, 4});
  CHECK(broadcast({}, {0, 1}, "op") == Shape{0, 1});
  CHECK_ERROR(broadcast({2, 3}, {2, 4}, "op"), "op: shapes [2,3] and [2,4] do not broadcast");
  CHECK_ERROR(broadcast({2}, {0}, "op"), "do not broadcast");
}

TEST_CASE("views share memory and read as NumPy's do") {
  const Tensor t = counting({2, 3, 4});
  CHECK(t.transpose(0, 2).shape() == Shape{4, 3, 2});
  CHECK(t.transpose(0, 2).slice(0, 1, 2).to_vector<double>() == std::vector<double>{1, 13, 5, 17, 9, 21});
  CHECK(t.permute({1, 2, 0}).slice(0, 2, 3).slice(1, 3, 4).to_vector<double>() ==
        std::vector<double>{11, 23});
  CHECK(t.slice(2, 1, 3).slice(0, 1, 2).to_vector<double>() == std::vector<double>{13, 14, 17, 18, 21, 22});
  CHECK(t.slice(1, 0, 1).expand({2, 2, 4}).to_vector<double>() ==
        std::vector<double>{0, 1, 2, 3, 0, 1, 2, 3, 12, 13, 14, 15, 12, 13, 14, 15});
  CHECK(t.reshape({-1, 6}).shape() == Shape{4, 6});
  CHECK(t.transpose(1, 2).reshape({24}).to_vector<double>()[1] == 4);
  Tensor shared = t;
  shared.slice(0, 1, 2).fill(-1);
  CHECK(t.to_vector<double>()[12] == -1);
  CHECK(t.to_vector<double>()[11] == 11);
}

TEST_CASE("copies do not share, and go through any view") {
  Tensor t = counting({2, 3});
  Tensor c = t.clone();
  c.fill(7);
  CHECK(t.to_vector<double>()[0] == 0);
  t.transpose(0, 1).copy_from(counting({3, 2}));
  CHECK(t.to_vector<double>() == std::vector<double>{0, 2, 4, 1, 3, 5});
  CHECK(t.to(DType::int64).to_vector<int64_t>() == std::vector<int64_t>{0, 2, 4, 1, 3, 5});
  CHECK(t.to(DType::uint8).dtype() == DType::uint8);
  t.slice(1, 1, 2).fill(9);
  CHECK(t.to_vector<double>() == std::vector<double>{0, 9, 4, 1, 9, 5});
  CHECK_ERROR(t.copy_from(counting({3})), "shape [3] into shape [2,3]");
}

TEST_CASE("empty tensors and scalars are tensors") {
  for (const Shape& s : {Shape{0}, Shape{3, 0}, Shape{0, 3}, Shape{0, 0, 2}}) {
    const Tensor t = Tensor::zeros(s);
    CHECK(t.numel() == 0);
    CHECK(t.clone().to_vector<float>().empty());
    CHECK(t.transpose(0, -1).contiguous().numel() == 0);
    CHECK(t.expand(s.with(0, 2)).contiguous().numel() == 0);
  }
  CHECK(Tensor::scalar(2.5).item() == 2.5);
  CHECK(Tensor::scalar(2.5).expand({2}).to_vector<float>() == std::vector<float>{2.5f, 2.5f});
  CHECK(Tensor::scalar(3, DType::int64).item() == 3);
}

TEST_CASE("misuse of a tensor is an error, not undefined") {
  const Tensor t = counting({2, 3});
  CHECK_ERROR(t.data<float>(), "holds float64, float32 was asked for");
  CHECK_ERROR(t.item(), "exactly one expected");
  CHECK_ERROR(t.slice(0, -1, 1), "[-1, 1) is not within axis 0");
  CHECK_ERROR(t.slice(2, 0, 1), "no axis 2");
  CHECK_ERROR(t.permute({0}), "1 axes given");
  CHECK_ERROR(t.permute({0, 0}), "named twice");
  CHECK_ERROR(t.expand({3}), "fewer axes");
  CHECK_ERROR(t.reshape({-1, -1}), "size -1");
  CHECK_ERROR(t.reshape({-2, -3}), "size -2");
  CHECK_ERROR(t.reshape({-1, 0}), "do not divide by 0");
  CHECK_ERROR(t.reshape({int64_t{1} << 32, int64_t{1} << 32, -1}), "more than 2^40 elements");
  for (const int i : {-1, 3}) CHECK_ERROR(t.shape().with(i, 2), "no place");
  CHECK_ERROR(Tensor::of<float>({1, 2}, {3}), "2 values given for shape [3]");
  CHECK_ERROR(Tensor().data<float>(), "undefined");
  CHECK_ERROR(Tensor().clone(), "undefined");
  CHECK_ERROR(Tensor().item(), "exactly one");
  CHECK_ERROR(parse_device("gpu9"), "gpu9");
}

TEST_CASE("identical compares shape, type and bits") {
  const Tensor a = Tensor::of<float>({0.0f, NAN}, {2}), b = Tensor::of<float>({-0.0f, NAN}, {2});
  CHECK(identical(a, a.clone()));
  CHECK_FALSE(identical(a, b));
  CHECK_FALSE(identical(a, a.reshape({1, 2})));
  CHECK_FALSE(identical(Tensor::zeros({2}), Tensor::zeros({2}, DType::int64)));
}

TEST_CASE("Philox gives the published words") {
  using Words = std::array<uint32_t, 4>;
  CHECK(philox({0, 0, 0, 0}, {0, 0}) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}) == Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
  CHECK(Random(0, Stream::init).block(0) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
}

TEST_CASE("every argument of a random sequence changes it") {
  std::set<uint32_t> first;
  for (const uint64_t seed : {0ull, 1ull, 1ull << 32, ~0ull}) first.insert(Random(seed, Stream::test).bits());
  for (const Stream s : {Stream::init, Stream::shuffle}) first.insert(Random(0, s).bits());
  for (const uint64_t sample : {1ull, 1ull << 32, (1ull << 48) - 1})
    first.insert(Random(0, Stream::test, sample).bits());
  for (const uint32_t step : {1u, ~0u}) first.insert(Random(0, Stream::test, 0, step).bits());
  first.insert(Random(0, Stream::init, 1ull << 47).bits());  // the bit below those of the stream
  CHECK(first.size() == 12);
}

TEST_CASE("uniform and normal draws have their moments and their range") {
  Random random(42, Stream::test);
  double sum = 0, squares = 0, normal_sum = 0, normal_squares = 0;
  const int n = 100'000;
  for (int i = 0; i < n; ++i) {
    const double u = static_cast<double>(random.uniform()), z = random.normal();
    REQUIRE((u >= 0 && u < 1));
    REQUIRE(std::isfinite(z));
    REQUIRE(random.below(7) < 7);
    sum += u, squares += u * u, normal_sum += z, normal_squares += z * z;
  }
  CHECK(Random::fraction(3u << 5, 5u << 6) == 3 * 0x1p-27 + 5 * 0x1p-53);
  CHECK(sum / n == doctest::Approx(0.5).epsilon(0.01));
  CHECK(squares / n == doctest::Approx(1.0 / 3).epsilon(0.01));
  CHECK(std::abs(normal_sum / n) < 0.015);
  CHECK(normal_squares / n == doctest::Approx(1).epsilon(0.02));
}

TEST_CASE("parallel loops visit every index once, whatever the number of threads") {
  const int before = threads();
  for (const int n : {1, 2, 5}) {
    set_threads(n);
    for (const int64_t count : {0, 1, 3, 17, 1000}) {
      std::vector<std::atomic<int>> visits(static_cast<size_t>(count));
      parallel_for(count, [&](int64_t i) { ++visits[static_cast<size_t>(i)]; });
      for (const auto& v : visits) CHECK(v == 1);
    }
    std::atomic<int64_t> covered{0};
    parallel_ranges(1001, 10, [&](int64_t begin, int64_t end) {
      CHECK(begin % 10 == 0);
      covered += end - begin;
    });
    CHECK(covered == 1001);
  }
  set_threads(before);
  for (const int n : {0, 4097}) CHECK_ERROR(set_threads(n), "accepted: 1 to 4096");
}

TEST_CASE("threads do run loops side by side") {
  const int before = threads();
  set_threads(3);
  for (int loop = 0; loop < 3; ++loop) {  // each index waits for the two others
    std::atomic<int> there{0};
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    parallel_for(3, [&](int64_t) {
      ++there;
      while (there < 3 && std::chrono::steady_clock::now() < end) std::this_thread::yield();
      CHECK(there == 3);
    });
  }
  set_threads(before);
}

TEST_CASE("many short loops of several threads at once, with waits between them, lose nothing") {
  const int before = threads();
  set_threads(4);
  std::atomic<int64_t> sum{0};
  const auto caller = [&] {
    for (int loop = 0; loop < 400; ++loop) {
      std::vector<int64_t> squares(7);  // gone when the loop is over: nobody may come late
      parallel_for(7, [&](int64_t i) { squares[static_cast<size_t>(i)] = i * i; });
      sum += std::accumulate(squares.begin(), squares.end(), int64_t{0});
      if (loop % 50 == 0)
        std::this_thread::sleep_for(std::chrono::microseconds(200));  // the others fall asleep
    }
  };
  {
    std::vector<std::jthread> callers;
    for (int i = 0; i < 3; ++i) callers.emplace_back(caller);
  }
  CHECK(sum == 3 * 400 * 91);
  set_threads(before);
}

TEST_CASE("an exception in a loop body reaches the caller, and the next loop works") {
  const int before = threads();
  for (const int n : {1, 3}) {
    set_threads(n);
    CHECK_ERROR(parallel_for(100, [](int64_t i) { check(i != 37, "index {}", i); }), "index 37");
    std::atomic<int> visits{0};
    parallel_for(8, [&](int64_t) { parallel_for(8, [&](int64_t) { ++visits; }); });
    CHECK(visits == 64);
  }
  set_threads(before);
}

TEST_CASE("of several bodies that fail, the lowest index is heard, however late it fails") {
  const int before = threads();
  set_threads(2);
  for (int loop = 0; loop < 10; ++loop) {
    std::atomic<bool> other_fails{false};
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    const auto body = [&](int64_t i) {
      while (i == 0 && !other_fails && std::chrono::steady_clock::now() < end) std::this_thread::yield();
      for (int wait = 0; i == 0 && wait < 1000; ++wait) std::this_thread::yield();
      other_fails = true;
      fail("index {}", i);
    };
    CHECK_ERROR(parallel_for(2, body), "index 0");
  }
  set_threads(before);
}

TEST_CASE("the account of memory returns to its start") {
  const int64_t before = memory_count().live;
  {
    const Tensor a = Tensor::zeros({1000, 1000}), view = a.transpose(0, 1), small = Tensor::zeros({3});
    CHECK(memory_count().live >= before + 4'000'000);
    reset_peak_memory();
    { const Tensor b = Tensor::zeros({1000, 1000}); }
    CHECK(memory_count().peak >= before + 8'000'000);
  }
  CHECK(memory_count().live == before);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // there, freed memory is given back
TEST_CASE("a freed block serves smaller tensors, down to half its size, and comes back whole") {
  constexpr int64_t mib = 1 << 20;
  const auto bytes = [](int64_t n) { return Tensor::empty({n}, DType::uint8); };
  { bytes(896 * mib); }  // more than other tests leave behind
  for (int turn = 0; turn < 2; ++turn) {
    const MemoryCount before = memory_count();
    const Tensor half = bytes(448 * mib);
    CHECK(memory_count().live == before.live + 448 * mib);
    CHECK(memory_count().cached == before.cached - 896 * mib);
    const Tensor less_than_half = bytes(384 * mib);  // of the first; it finds no other
    CHECK(memory_count().cached == before.cached - (turn == 0 ? 896 : 896 + 384) * mib);
  }
  const MemoryCount before = memory_count();
  const Tensor small = bytes(160 * mib);  // blocks of 896 and 384 are there
  CHECK(memory_count().cached == before.cached);
  { const std::vector<Tensor> many{bytes(896 * mib), bytes(896 * mib), bytes(896 * mib)}; }
  CHECK(memory_count().cached <= 2048 * mib);
}
#endif

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they stop at a huge request themselves
TEST_CASE("more memory than there is is an error that leaves the account in order") {
  rlimit old{};
  REQUIRE(getrlimit(RLIMIT_AS, &old) == 0);
  rlimit one_terabyte = old;
  one_terabyte.rlim_cur = std::min<rlim_t>(old.rlim_max, rlim_t{1} << 40);
  REQUIRE(setrlimit(RLIMIT_AS, &one_terabyte) == 0);
  const int64_t before = memory_count().live;
  CHECK_ERROR(Tensor::empty({int64_t{1} << 40}, DType::float64), "do not fit");
  CHECK(memory_count().live == before);
  setrlimit(RLIMIT_AS, &old);
}

TEST_CASE("kept blocks are given back before memory is said to be full") {
  constexpr int64_t mib = 1 << 20;
  const auto bytes = [](int64_t n) { return Tensor::empty({n}, DType::uint8); };
  { bytes(896 * mib); }
  REQUIRE(memory_count().cached >= 896 * mib);
  rlimit old{};
  REQUIRE(getrlimit(RLIMIT_AS, &old) == 0);
  int64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  rlimit tight = old;
  tight.rlim_cur = static_cast<rlim_t>(pages * sysconf(_SC_PAGESIZE) + 512 * mib);
  REQUIRE(setrlimit(RLIMIT_AS, &tight) == 0);
  CHECK(bytes(1280 * mib).numel() == 1280 * mib);
  setrlimit(RLIMIT_AS, &old);
}
#endif

TEST_CASE("memory is aligned, and poisoned when asked for") {
  for (const int64_t n : {1, 3, 17, 100'000}) {
    const Tensor t = Tensor::empty({n});
    CHECK(reinterpret_cast<uintptr_t>(t.data<float>()) % 64 == 0);
  }
  const bool before = poison_new_memory(true);
  const Tensor t = Tensor::empty({33}, DType::float64);
  poison_new_memory(before);
  for (const double v : t.to_vector<double>()) CHECK(std::isnan(v));
}

}  // namespace
}  // namespace hashgrad
