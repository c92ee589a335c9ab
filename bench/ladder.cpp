#include "bench/ladder.h"

#include <algorithm>
#include <cmath>
#include <fmt/ranges.h>
#include <limits>

#include "bench/ladders/ladders.h"
#include "core/error.h"
#include "core/random.h"
#include "core/tensor.h"

// The engines beside the CPU only; HASHGRAD_ON has the CPU too.
#define ON_KERNELS(device, ...)                                                                        \
  do {                                                                                                 \
    HASHGRAD_IF_CUDA(if ((device).kind == Device::Kind::cuda) return ::hashgrad::cuda::__VA_ARGS__;)   \
    HASHGRAD_IF_EMULATOR(if ((device).kind == Device::Kind::emu) return ::hashgrad::emu::__VA_ARGS__;) \
    fail("ladders have no rungs on device '{}' of this build", to_string(device));                     \
  } while (false)

namespace hashgrad::bench {
namespace {

constexpr int64_t guard = 64;  // elements behind a result that no rung may touch

/// A ladder at one size of three.
struct Entry {
  std::string name;
  std::function<Ladder(Device, Size)> make;
};

int64_t pick(Size size, int64_t tiny, int64_t small, int64_t full) {
  return size == Size::tiny ? tiny : size == Size::small ? small : full;
}

Ladder make_softmax(Device device, Size size) {
  [[maybe_unused]] const int64_t rows = pick(size, 33, 1024, 65536), columns = pick(size, 129, 1000, 1000);
  ON_KERNELS(device, bench::softmax_ladder(rows, columns));
}
Ladder make_sgemm(Device device, Size size) {
  [[maybe_unused]] const int64_t m = pick(size, 129, 512, 4096), n = pick(size, 132, 512, 4096),
                                 k = pick(size, 36, 512, 4096);
  ON_KERNELS(device, bench::sgemm_ladder(m, n, k));
}
Ladder make_hash_gemm(Device device, Size size) {
  [[maybe_unused]] const int64_t batch = pick(size, 9, 32, 128), rows = pick(size, 70, 512, 512),
                                 columns = pick(size, 133, 784, 6272), buckets = pick(size, 100, 1024, 4096);
  ON_KERNELS(device, bench::hash_gemm_ladder(batch, rows, columns, buckets));
}
Ladder make_conv2d(Device device, Size size) {
  [[maybe_unused]] const int64_t batch = pick(size, 2, 32, 128), in = pick(size, 3, 32, 64),
                                 side = pick(size, 19, 28, 32), out = pick(size, 9, 32, 64),
                                 kernel = pick(size, 5, 5, 3);
  ON_KERNELS(device, bench::conv2d_ladder(batch, in, side, out, kernel));
}
Ladder make_hash_scatter(Device device, Size size) {
  [[maybe_unused]] const int64_t rows = pick(size, 37, 512, 4096), columns = pick(size, 133, 784, 4096),
                                 buckets = pick(size, 40, 128, 128);
  ON_KERNELS(device, bench::hash_scatter_ladder(rows, columns, buckets));
}

const std::vector<Entry>& entries() {
  static const std::vector<Entry> all{{"sgemm", make_sgemm},
                                      {"conv2d", make_conv2d},
                                      {"softmax", make_softmax},
                                      {"hash_gemm", make_hash_gemm},
                                      {"hash_scatter", make_hash_scatter}};
  return all;
}

/// Numbers in [-1, 1), the same in every run.
Tensor operand(int64_t n, uint64_t seed) {
  Tensor t = Tensor::empty({n});
  Random random(seed, Stream::test);
  for (int64_t i = 0; i < n; ++i) t.data<float>()[i] = 2 * random.uniform() - 1;
  return t;
}

/// Largest difference, relative to the largest |expected|; infinite when something is not a number.
double relative_error(const float* y, const float* expected, int64_t n) {
  double difference = 0, largest = std::numeric_limits<double>::min();
  for (int64_t i = 0; i < n; ++i) {
    const double d = std::abs(static_cast<double>(y[i]) - static_cast<double>(expected[i]));
    if (!std::isfinite(d)) return INFINITY;
    difference = std::max(difference, d);
    largest = std::max(largest, std::abs(static_cast<double>(expected[i])));
  }
  return difference / largest;
}

double check_rung(Device device, const Ladder& ladder, size_t number, const Tensor& a, const Tensor& b,
                  const Tensor& expected) {
  const Rung& rung = ladder.rungs[number];
  Tensor y =
      Tensor::full({ladder.y + guard}, std::numeric_limits<double>::quiet_NaN(), DType::float32, device);
  rung.run(a.data<float>(), b.data<float>(), y.data<float>());
  const std::vector<float> got = y.to_vector<float>();
  const double error = relative_error(got.data(), expected.data<float>(), ladder.y);
  check(error <= rung.tolerance, "{}, rung {} ({}) is wrong: relative error {:.1e}, {:.1e} is allowed",
        ladder.name, number + 1, rung.idea, error, rung.tolerance);
  check(std::all_of(got.begin() + ladder.y, got.end(), [](float v) { return std::isnan(v); }),
        "{}, rung {} ({}) writes behind its result", ladder.name, number + 1, rung.idea);
  return error;
}

/// One complete set of operands per turn, so that nothing is left in a cache from the turn before.
struct Sets {
  std::vector<Tensor> a, b, y;

  Sets(Device device, const Ladder& ladder, const Tensor& host_a, const Tensor& host_b) {
    constexpr int64_t more_than_any_cache = 256 << 20;
    const int64_t bytes = 4 * (ladder.a + ladder.b + ladder.y);
    const int64_t count = std::clamp<int64_t>((more_than_any_cache + bytes - 1) / bytes, 1, 64);
    for (int64_t i = 0; i < count; ++i) {
      a.push_back(host_a.to(device).clone());
      b.push_back(host_b.to(device).clone());
      y.push_back(Tensor::zeros({ladder.y}, DType::float32, device));
    }
  }
};

std::vector<double> replay_times(Device device, [[maybe_unused]] int works, [[maybe_unused]] int rounds,
                                 [[maybe_unused]] const std::function<void()>& work) {
  ON_KERNELS(device, bench::replay_times(works, rounds, work));
}

void time_rung(Device device, const Rung& rung, Sets& sets, int rounds, RungResult& result) {
  const auto all_sets = [&](size_t count) {
    return [&rung, &sets, count] {
      for (size_t i = 0; i < count; ++i)
        rung.run(sets.a[i].data<float>(), sets.b[i].data<float>(), sets.y[i].data<float>());
    };
  };
  const double first_us = replay_times(device, 1, 1, all_sets(1))[0];
  constexpr double budget_us = 1.5e6;  // a naive rung may take a thousand times as long as the last
  const size_t count = first_us * static_cast<double>(sets.a.size()) > 2e5 ? 1 : sets.a.size();
  const int most = static_cast<int>(std::min(1e6, budget_us / (first_us * static_cast<double>(count)) + 1));
  std::vector<double> us = replay_times(device, static_cast<int>(count),
                                        std::clamp(most, 5, std::max(5, rounds)), all_sets(count));
  std::sort(us.begin(), us.end());
  const auto at = [&](double share) {
    return us[static_cast<size_t>(share * static_cast<double>(us.size() - 1))];
  };
  result.median_us = at(0.5);
  result.p10_us = at(0.1);
  result.p90_us = at(0.9);
}

}  // namespace

const char* name_of(Resource resource) {
  constexpr const char* names[] = {"memory", "L2", "FMA", "issue", "shared memory", "shared memory, random",
                                   "launch"};
  return names[static_cast<int>(resource)];
}

std::pair<double, Resource> Rates::floor_of(const Amounts& work) const {
  const auto amounts = work.all(), rates = per_us.all();
  std::pair<double, Resource> floor{0, Resource::launch};
  for (int r = 0; r < resource_count; ++r) {
    const size_t at = static_cast<size_t>(r);
    if (const double us = amounts[at] / rates[at]; us > floor.first) floor = {us, static_cast<Resource>(r)};
  }
  return floor;
}

const std::vector<std::string>& ladder_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const Entry& entry : entries()) all.push_back(entry.name);
    return all;
  }();
  return names;
}

Ladder make_ladder(Device device, const std::string& name, Size size) {
  for (const Entry& entry : entries())
    if (entry.name == name) return entry.make(device, size);
  fail("there is no ladder '{}' (available: {})", name, fmt::join(ladder_names(), ", "));
}

Rates measure_rates(Device device) { ON_KERNELS(device, bench::measure_rates()); }

std::vector<RungResult> climb(Device device, const Ladder& ladder, int rounds, const Rates* rates) {
  check(rounds == 0 || rates != nullptr, "{}: rungs are timed beside floors, and there are none",
        ladder.name);
  const Tensor a = operand(ladder.a, 1), b = operand(ladder.b, 2);
  Tensor expected = Tensor::empty({ladder.y});
  ladder.reference(a.data<float>(), b.data<float>(), expected.data<float>());
  const Tensor there_a = a.to(device), there_b = b.to(device);
  std::vector<RungResult> results;
  for (size_t i = 0; i < ladder.rungs.size(); ++i) {
    RungResult result{.idea = ladder.rungs[i].idea, .tolerance = ladder.rungs[i].tolerance};
    result.error = check_rung(device, ladder, i, there_a, there_b, expected);
    results.push_back(result);
  }
  if (rounds == 0) return results;
  Sets sets(device, ladder, a, b);
  for (size_t i = 0; i < ladder.rungs.size(); ++i) {
    std::tie(results[i].floor_us, results[i].binds) = rates->floor_of(ladder.rungs[i].work);
    time_rung(device, ladder.rungs[i], sets, rounds, results[i]);
  }
  return results;
}

}  // namespace hashgrad::bench
