// What a study costs, by estimate, and how several machines share it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "experiments/cli/options.h"
#include "nn/spec.h"

namespace hashgrad::study {

/// Floating-point operations of one forward pass of one image: two per multiply-add. A backward pass to the
/// image costs about the same again.
double flops_per_image(const Spec& spec);
/// Of a training: three times the forward passes of its images.
double training_flops(const Spec& spec, int64_t images, int64_t epochs);
/// Floating-point operations per second of this network's forward pass on the device and in the element type
/// of the flags, measured for about a quarter of a second. Networks are trained in float32 all the same, so
/// for float64 what they cost is announced too high.
double measured_flops_per_second(const Spec& spec, const cli::CommonFlags& flags);

/// One of several processes that compute a study together: shard `number` of `count`.
struct Shard {
  int64_t number = 1, count = 1;
};
/// From "2/3"; anything else is an Error.
Shard parse_shard(const std::string& text);
/// What a cell costs: its own work, and the networks that it needs, by number.
struct Work {
  double flops = 0;
  std::vector<size_t> networks{};
};
/// The number of the shard of each cell. The costliest comes first, with its networks, and each goes to where
/// the work ends soonest: a shard that makes one of its networks anyway does not pay for it twice. Depends on
/// nothing but its arguments, so all machines agree.
std::vector<int64_t> partition(const std::vector<Work>& cells, const std::vector<double>& networks,
                               int64_t shards);

}  // namespace hashgrad::study
