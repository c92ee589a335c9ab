// Is the loader the bottleneck? Images per second of reading a dataset, of making its batches, and of
// training.
//
//   bench_loader DATA SPEC [FIRST]      (experiments/results/loader.md)
//
// DATA is that of `hashgrad train --data`; SPEC a network, or its name; FIRST the images to read (0: all).
#include "datasets/loader.h"

#include <chrono>
#include <cstdlib>
#include <fmt/format.h>

#include "core/error.h"
#include "core/parallel.h"
#include "datasets/registry.h"
#include "nn/train.h"

namespace hashgrad {
namespace {

constexpr int64_t batch = 128;
constexpr const char* augmentation = "crop:4,flip,cutout:8,jitter:0.2";

/// Images per second of work on `images`.
template <class Work>
double rate(int64_t images, const Work& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return static_cast<double>(images) /
         std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// Of one epoch, in images; nothing is done with its batches.
double batches_rate(const Dataset& data, const char* changes) {
  const Loader loader(data, {.batch = batch, .augmentation = parse_augmentation(changes)});
  return rate(data.size(), [&] {
    Epoch epoch = loader.epoch(0);
    while (epoch.next()) {
    }
  });
}

double training_rate(const Dataset& data, const std::string& spec) {
  Model model(spec, {});
  const Dataset some = data.first(std::min<int64_t>(data.size(), 10 * batch));
  return rate(some.size(), [&] {
    train(model, some, {.epochs = 1, .batch = batch, .augmentation = parse_augmentation(augmentation)});
  });
}

void run(const std::string& name, const std::string& spec, int64_t first) {
  Dataset data;
  DataOptions options;
  options.first = first;
  const double reading = rate(1, [&] { data = load_dataset(name, Split::train, options); });
  fmt::print("| work on {}, {} threads | images/s |\n|---|---:|\n", name, threads());
  fmt::print("| reading {} images from disk, once | {:.0f} |\n", data.size(),
             static_cast<double>(data.size()) * reading);
  fmt::print("| batches of {} | {:.0f} |\n", batch, batches_rate(data, "none"));
  fmt::print("| the same, {} | {:.0f} |\n", augmentation, batches_rate(data, augmentation));
  fmt::print("| training {} on them | {:.0f} |\n", spec, training_rate(data, spec));
}

}  // namespace
}  // namespace hashgrad

int main(int argc, char** argv) {
  if (argc < 3) {
    fmt::print(stderr, "usage: bench_loader DATA SPEC [FIRST]\n");
    return 2;
  }
  try {
    hashgrad::run(argv[1], argv[2], argc > 3 ? std::atoll(argv[3]) : 0);
  } catch (const hashgrad::Error& error) {
    fmt::print(stderr, "bench_loader: {}\n", error.what());
    return 1;
  }
}
