// The hashed linear layer 6272 -> 512 beside the dense one: forward, input gradient, weight gradient.
//   bench_hash_linear [batch = 128] [threads = all]
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fmt/core.h>
#include <vector>

#include "core/parallel.h"
#include "cpu/hash_gemm.h"

namespace {

using namespace hashgrad;

/// Median and fastest of 15 calls, in milliseconds.
struct Times {
  double median, best;
};
template <class Body>
Times time(const Body& body) {
  body();
  std::vector<double> ms;
  for (int n = 0; n < 15; ++n) {
    const auto start = std::chrono::steady_clock::now();
    body();
    ms.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
  }
  std::sort(ms.begin(), ms.end());
  return {ms[ms.size() / 2], ms[0]};
}

void print(const char* name, const Times& forward, const Times& dx, const Times& dw, double flop) {
  const double median = forward.median + dx.median + dw.median, best = forward.best + dx.best + dw.best;
  fmt::print("{:<16}{:>14.2f}{:>14.2f}{:>14.2f}{:>14.2f}{:>10.2f}{:>10.0f}\n", name, forward.median,
             dx.median, dw.median, median, best, 3 * flop / median / 1e6);
}

std::vector<float> ramp(int64_t n) {
  std::vector<float> out(static_cast<size_t>(n));
  for (size_t e = 0; e < out.size(); ++e) out[e] = static_cast<float>(e % 1009) / 1009 - 0.5f;
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  const int64_t batch = argc > 1 ? std::atoll(argv[1]) : 128, rows = 512, columns = 6272;
  if (argc > 2) set_threads(std::atoi(argv[2]));
  const double flop = 2.0 * static_cast<double>(batch * rows * columns);
  auto x = ramp(batch * columns), dy = ramp(batch * rows), y = dy, dx = x, dense = ramp(rows * columns),
       d_dense = dense;

  fmt::print("batch {}, {} threads, milliseconds (median of 15; last columns: best, GFLOP/s)\n", batch,
             threads());
  fmt::print("{:<16}{:>14}{:>14}{:>14}{:>14}{:>10}{:>10}\n", "", "forward", "dx", "dw", "all", "best",
             "GFLOP/s");
  const auto gemm = [&](bool ta, bool tb, int64_t m, int64_t n, int64_t k, const auto& a, const auto& b,
                        auto& c) {
    return time([&] { cpu::gemm(ta, tb, m, n, k, a.data(), ta ? m : k, b.data(), tb ? k : n, c.data(), n); });
  };
  print("dense", gemm(false, true, batch, rows, columns, x, dense, y),
        gemm(false, false, batch, columns, rows, dy, dense, dx),
        gemm(true, false, rows, columns, batch, dy, x, d_dense), flop);
  for (const int64_t divide : {8, 64, 4096}) {
    const HashSpec spec{1, rows * columns / divide, HashMode::full};
    const auto v = cpu::HashedMatrix::linear(spec, rows, columns);
    const auto w = ramp(spec.buckets);
    auto dw = w;
    print(fmt::format("hashed 1/{}", divide).c_str(),
          time([&] { cpu::hashed_linear(v, w.data(), batch, x.data(), y.data()); }),
          time([&] { cpu::hashed_linear_input_gradient(v, w.data(), batch, dy.data(), dx.data()); }),
          time([&] { cpu::hashed_linear_bucket_gradient(v, batch, x.data(), dy.data(), dw.data()); }), flop);
  }
}
