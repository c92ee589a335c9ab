// What tests of training share.
#pragma once

#include <atomic>
#include <doctest/doctest.h>
#include <string>

#include "core/file.h"
#include "nn/train.h"
#include "tests/temp_dir.h"

namespace hashgrad::testing {

inline bool same_bits(const Model& a, const Model& b) {
  const auto other = b.state();
  for (const auto& [name, tensor] : a.state())
    if (!identical(tensor, other.at(name))) return false;
  return true;
}

/// Options of the run that goes on where a first one was stopped behind a step, by way of `checkpoint`.
inline TrainOptions resumed_behind(int64_t step, const Model& start, const Dataset& data,
                                   TrainOptions options, const std::string& checkpoint) {
  Model broken = start.clone();
  std::atomic<bool> stop = false;
  TrainOptions first = options;
  first.stop = &stop;
  first.progress = [&](const TrainProgress& p) { stop = p.step == step; };
  first.checkpoint = options.checkpoint = options.resume = checkpoint;
  CHECK(train(broken, data, first).stopped);
  return options;
}

/// Log without its last column, the wall-clock seconds.
inline std::string timeless_log(const std::string& path) {
  std::string out, line;
  for (char c : read_file(path)) {
    if (c != '\n') {
      line += c;
    } else {
      out += line.substr(0, line.rfind(',')) + "\n";
      line.clear();
    }
  }
  return out;
}

}  // namespace hashgrad::testing
