// The CPU engine's roofline: each of its kernels on the layers of the papers' networks, beside the least time
// that this machine could need, by ceilings measured in the same run. docs/kernels/README.md says how to read
// it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

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

/// A kernel on one layer. `prepare` makes its operands and returns what is timed, which owns them.
struct CpuKernel {
  std::string layer, kernel;
  CpuWork work;
  std::function<std::function<void()>()> prepare;
};

enum class CpuSize { smoke, full };  // smoke: everything once, and small copies

/// a2, b2, lenet5, vgg16, resnet18, hashed.
const std::vector<std::string>& cpu_networks();
/// The kernels of a network's layers, for a batch of images. Layers that repeat are listed once. An Error
/// when there is no such network.
std::vector<CpuKernel> cpu_kernels(const std::string& network, int64_t batch);

/// Products in the arithmetic of math_mode(). At size full it takes about two seconds.
CpuCeilings measure_cpu_ceilings(CpuSize size);
/// Seconds of one call: the best of calls that fill a tenth of a second, of one at size smoke.
double seconds_of(const CpuKernel& kernel, CpuSize size);

}  // namespace hashgrad::bench
