// What this machine can do at best, measured: the ceilings of the CPU engine's roofline (cpu_roofline.h).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "core/tensor.h"
#include "cpu/hash_gemm.h"

namespace hashgrad::bench {

/// What a kernel cannot do without, by count.
struct CpuWork {
  double flops = 0;    // of products
  double bytes = 0;    // of operands and results, each touched once
  double gathers = 0;  // values of a hashed matrix, read from a table of `buckets`
  double scatters = 0;
  int64_t buckets = 0;
};

/// What all threads together do per second at best.
struct CpuCeilings {
  struct Copy {
    double bytes;  // read and written, together
    double per_second;
  };
  struct Table {
    int64_t buckets;
    double gathers, scatters;
  };
  double flops = 0;           // in the arithmetic of math_mode()
  std::vector<Copy> copies;   // from the second-level cache to main memory, rising
  std::vector<Table> tables;  // of the hashed layers

  /// The best of all copies that touch as much or more.
  double bandwidth(double bytes) const;
  /// Seconds that the work takes at least, and what takes longest: "products", "memory", "table".
  std::pair<double, std::string> floor_of(const CpuWork& work) const;
};

enum class CpuSize { smoke, full };  // smoke: everything once, and small copies

/// Products in the arithmetic of math_mode(). At size full it takes about two seconds.
CpuCeilings measure_cpu_ceilings(CpuSize size);

// What ceilings and kernels are measured with.

/// Numbers in [-1, 1); a few thousand random ones over and over.
Tensor values(int64_t n);
/// Seconds of one call: the best of calls that fill a tenth of a second, of one at size smoke.
double best_seconds(const std::function<void()>& run, CpuSize size);

/// The hashed layer: a bucket for so many virtual weights.
inline constexpr int64_t hashed_inputs = 6272, hashed_outputs = 512, hashed_divisors[] = {8, 64};
cpu::HashedMatrix hashed_matrix(int64_t buckets);

}  // namespace hashgrad::bench
