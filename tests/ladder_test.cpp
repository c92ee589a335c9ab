#include "bench/ladder.h"

#include "bench/cpu_roofline.h"
#include "bench/ladders/ladders.h"
#include "tests/cuda_testing.h"
#include "tests/error_of.h"

using namespace hashgrad;
using namespace hashgrad::cuda_testing;

// climb() compares every rung with the CPU engine and throws when one is wrong, or writes where it must not.

#define LADDER(device, ...)                                                                       \
  [&]() -> bench::Ladder {                                                                        \
    HASHGRAD_IF_CUDA(if ((device).kind == Device::Kind::cuda) return cuda::bench::__VA_ARGS__;)   \
    HASHGRAD_IF_EMULATOR(if ((device).kind == Device::Kind::emu) return emu::bench::__VA_ARGS__;) \
    fail("no such engine");                                                                       \
  }()

TEST_CASE("ladder: every rung of every ladder is right at the size of the command") {
  for (const Device device : other_devices())
    for (const std::string& name : bench::ladder_names()) {
      CAPTURE(name);
      CHECK_NOTHROW(climb(device, make_ladder(device, name, bench::Size::tiny), 0, nullptr));
    }
}

TEST_CASE("ladder: softmax rungs of ragged sizes") {
  for (const Device device : other_devices())
    for ([[maybe_unused]] const int64_t columns : {1, 17, 33, 1024})
      for ([[maybe_unused]] const int64_t rows : {1, 9})
        CHECK_NOTHROW(climb(device, LADDER(device, softmax_ladder(rows, columns)), 0, nullptr));
}

TEST_CASE("ladder: sgemm rungs of ragged sizes") {
  struct {
    int64_t m, n, k;
  } const sizes[] = {{1, 1, 1}, {17, 33, 129}, {33, 129, 17}, {130, 4, 40}};
  for (const Device device : other_devices())
    for ([[maybe_unused]] const auto& [m, n, k] : sizes) {
      CAPTURE(m);
      CHECK_NOTHROW(climb(device, LADDER(device, sgemm_ladder(m, n, k)), 0, nullptr));
    }
}

TEST_CASE("ladder: hash_gemm rungs of ragged sizes") {
  struct {
    int64_t batch, rows, columns, buckets;
  } const sizes[] = {{1, 1, 1, 1}, {3, 17, 33, 5}, {9, 33, 129, 300}, {65, 129, 17, 16}};
  for (const Device device : other_devices())
    for ([[maybe_unused]] const auto& [batch, rows, columns, buckets] : sizes) {
      CAPTURE(batch);
      CHECK_NOTHROW(
          climb(device, LADDER(device, hash_gemm_ladder(batch, rows, columns, buckets)), 0, nullptr));
    }
}

TEST_CASE("ladder: conv2d rungs of ragged sizes") {
  struct {
    int64_t batch, in, side, out, kernel;
  } const sizes[] = {{1, 1, 1, 1, 1}, {3, 2, 17, 9, 5}, {2, 5, 7, 65, 3}, {1, 1, 33, 3, 7}};
  for (const Device device : other_devices())
    for ([[maybe_unused]] const auto& [batch, in, side, out, kernel] : sizes) {
      CAPTURE(side);
      CHECK_NOTHROW(climb(device, LADDER(device, conv2d_ladder(batch, in, side, out, kernel)), 0, nullptr));
    }
}

TEST_CASE("ladder: hash_scatter rungs of ragged sizes") {
  struct {
    int64_t rows, columns, buckets;
  } const sizes[] = {{1, 1, 1}, {17, 33, 5}, {33, 129, 160}, {3, 300, 500}};
  for (const Device device : other_devices())
    for ([[maybe_unused]] const auto& [rows, columns, buckets] : sizes) {
      CAPTURE(rows);
      CHECK_NOTHROW(climb(device, LADDER(device, hash_scatter_ladder(rows, columns, buckets)), 0, nullptr));
    }
}

TEST_CASE("ladder: a broken rung is noticed, and named") {
  for (const Device device : other_devices()) {
    const auto broken = [&](const bench::Program& wrong) {
      bench::Ladder ladder = LADDER(device, softmax_ladder(5, 7));
      const bench::Program right = ladder.rungs[2].run;
      ladder.rungs[2].run = [right, wrong](const float* a, const float* b, float* y) {
        right(a, b, y);
        wrong(a, b, y);
      };
      static_cast<void>(climb(device, ladder, 0, nullptr));
    };
    broken([](const float*, const float*, float*) {});
    const auto poke = [&](int64_t at, float value) {
      return [=](const float*, const float*, float* y) {
        memory_of(device).from_host(reinterpret_cast<std::byte*>(y + at),
                                    reinterpret_cast<const std::byte*>(&value), sizeof value);
      };
    };
    CHECK_ERROR(broken(poke(34, 0.5f)), "softmax, rung 3 (a warp per row, shuffles) is wrong");
    CHECK_ERROR(broken(poke(0, NAN)), "relative error inf");
    CHECK_ERROR(broken(poke(35, 0.0f)), "writes behind its result");
    CHECK_ERROR(static_cast<void>(make_ladder(device, "gemmm", bench::Size::tiny)), "available: sgemm");
  }
}

TEST_CASE("ladder: floors of the CPU engine's kernels") {
  bench::CpuCeilings ceilings;
  ceilings.flops = 1000;
  ceilings.copies = {{10, 400}, {100, 50}, {1000, 100}};
  ceilings.tables = {{7, 20, 10}};
  CHECK(ceilings.bandwidth(10) == 400);
  CHECK(ceilings.bandwidth(11) == 100);  // a larger copy was faster
  CHECK(ceilings.bandwidth(5000) == 100);
  CHECK(ceilings.floor_of({.flops = 500, .bytes = 10}) == std::pair{0.5, std::string("products")});
  CHECK(ceilings.floor_of({.flops = 500, .bytes = 200}) == std::pair{2.0, std::string("memory")});
  CHECK(ceilings.floor_of({.gathers = 30, .scatters = 20, .buckets = 7}) ==
        std::pair{3.5, std::string("table")});
}

TEST_CASE("ladder: every kernel of the CPU engine's roofline runs") {
  for (const std::string& network : bench::cpu_networks())
    for (const bench::CpuKernel& kernel : bench::cpu_kernels(network, 1)) {
      CAPTURE(kernel.layer);
      CHECK(seconds_of(kernel, bench::CpuSize::smoke) > 0);
    }
  CHECK_ERROR(bench::cpu_kernels("a3", 1), "there are no kernels of 'a3' (available: a2, b2");
}
