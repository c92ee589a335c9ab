// The CPU engine's roofline: each of its kernels on the layers of the papers' networks, beside the least time
// that this machine could need (cpu_ceilings.h). docs/kernels/README.md says how to read it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "bench/cpu_ceilings.h"

namespace hashgrad::bench {

/// A kernel on one layer. `prepare` makes its operands and returns what is timed, which owns them.
struct CpuKernel {
  std::string layer, kernel;
  CpuWork work;
  std::function<std::function<void()>()> prepare;
};

/// a2, b2, lenet5, vgg16, resnet18, hashed.
std::vector<std::string> cpu_networks();
/// The kernels of a network's layers, for a batch of images. Layers that repeat are listed once. An Error
/// when there is no such network.
std::vector<CpuKernel> cpu_kernels(const std::string& network, int64_t batch);

/// Seconds of one call: the best of calls that fill a tenth of a second, of one at size smoke.
double seconds_of(const CpuKernel& kernel, CpuSize size);

}  // namespace hashgrad::bench
