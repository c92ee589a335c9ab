// Speed of the CPU engine's products and convolutions, beside the ceiling that one tile of C reaches when
// everything is in L1. Usage: bench_cpu_kernels [threads] [batch]
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fmt/format.h>
#include <functional>
#include <vector>

#include "core/parallel.h"
#include "core/random.h"
#include "cpu/conv2d.h"
#include "cpu/gemm.h"
#include "cpu/kernels.h"

namespace {

using namespace hashgrad;

std::vector<float> random_values(int64_t n) {
  Random random(1, Stream::test);
  std::vector<float> values(static_cast<size_t>(n));
  for (float& value : values) value = 2 * random.uniform() - 1;
  return values;
}

/// Billions of operations per second, the best of some runs that take half a second together.
double rate(double operations, const std::function<void()>& run) {
  using Clock = std::chrono::steady_clock;
  double best = 1e30, total = 0;
  while (total < 0.5) {
    const auto start = Clock::now();
    run();
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    best = std::min(best, seconds);
    total += seconds;
  }
  return operations / best * 1e-9;
}

/// One tile of C over and over, on every thread.
double ceiling() {
  const cpu::GemmKernels<float>& kernel = cpu::gemm_kernels().of<float>();
  const int64_t depth = 320, repeats = 2000, n = threads();
  const auto a = random_values(depth * kernel.mr), b = random_values(depth * kernel.nr);
  std::vector<std::vector<float>> c(static_cast<size_t>(n),
                                    std::vector<float>(static_cast<size_t>(kernel.mr * kernel.nr)));
  return rate(2.0 * static_cast<double>(depth * kernel.mr * kernel.nr * repeats * n), [&] {
    parallel_for(n, [&](int64_t thread) {
      for (int64_t i = 0; i < repeats; ++i)
        kernel.block({kernel.mr, kernel.nr, depth, a.data(), b.data(), c[static_cast<size_t>(thread)].data(),
                      kernel.nr, nullptr, nullptr, false, false});
    });
  });
}

void products(double peak) {
  fmt::print("{:32}{:>12}{:>8}\n", "C[M,N] = A[M,K] B[K,N]^T", "GFLOP/s", "peak");
  const int64_t sizes[][3] = {
      {1024, 1024, 1024}, {128, 512, 6272}, {128, 256, 3136}, {128, 10, 512}, {1, 512, 6272}};
  for (const auto& [m, n, k] : sizes) {
    const auto a = random_values(m * k), b = random_values(k * n);
    std::vector<float> c(static_cast<size_t>(m * n));
    const double gflops = rate(2.0 * static_cast<double>(m * n * k), [&] {
      cpu::gemm<float>(false, true, m, n, k, a.data(), k, b.data(), k, c.data(), n);
    });
    fmt::print("{:32}{:12.1f}{:7.0f}%\n", fmt::format("{} x {} x {}", m, n, k), gflops, 100 * gflops / peak);
  }
}

void convolutions(double peak, int64_t batch) {
  fmt::print("\n{:32}{:>12}{:>8}{:>12}{:>8}{:>12}{:>8}\n", fmt::format("convolution, batch {}", batch),
             "forward", "peak", "d input", "peak", "d weight", "peak");
  const cpu::Conv2dShape shapes[] = {
      {batch, 1, 28, 28, 64, 5, 5, 1, 2},    {batch, 64, 14, 14, 128, 5, 5, 1, 2},
      {batch, 1, 28, 28, 64, 3, 3, 1, 1},    {batch, 64, 28, 28, 128, 3, 3, 1, 1},
      {batch, 128, 14, 14, 128, 3, 3, 1, 1}, {batch, 128, 14, 14, 64, 3, 3, 1, 1}};
  for (const cpu::Conv2dShape& s : shapes) {
    const auto x = random_values(batch * s.in_channels * s.in_pixels()),
               weight = random_values(s.out_channels * s.depth());
    const auto dy = random_values(batch * s.out_channels * s.out_pixels());
    std::vector<float> y(dy.size()), dx(x.size()), dweight(weight.size());
    const double operations = 2.0 * static_cast<double>(batch * s.out_channels * s.out_pixels() * s.depth());
    const double rates[] = {
        rate(operations,
             [&] { cpu::conv2d_forward<float>(s, x.data(), weight.data(), nullptr, true, y.data()); }),
        rate(operations,
             [&] { cpu::conv2d_backward_input<float>(s, weight.data(), {dy.data()}, dx.data()); }),
        rate(operations,
             [&] { cpu::conv2d_backward_weight<float>(s, x.data(), {dy.data()}, dweight.data(), nullptr); })};
    fmt::print("{:32}", fmt::format("{} -> {}, {} x {}, on {} x {}", s.in_channels, s.out_channels,
                                    s.kernel_h, s.kernel_w, s.height, s.width));
    for (const double gflops : rates) fmt::print("{:12.1f}{:7.0f}%", gflops, 100 * gflops / peak);
    fmt::print("\n");
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1) set_threads(std::atoi(argv[1]));
  const double peak = ceiling();
  fmt::print("{}, {} threads, ceiling {:.1f} GFLOP/s\n\n", cpu::isa_name(cpu::isa()), threads(), peak);
  products(peak);
  convolutions(peak, argc > 2 ? std::max(1, std::atoi(argv[2])) : 128);
}
