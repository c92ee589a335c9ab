// Networks by name: those of the papers, and those that their attacks and defences are compared with.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace hashgrad {

struct ZooEntry {
  std::string name;
  std::string spec;
  int64_t parameters;
  std::string source;  ///< where the network comes from, and what had to be decided
};

/// All of them, in name order.
const std::vector<ZooEntry>& zoo();
/// The spec behind a name, or null.
const ZooEntry* find_in_zoo(const std::string& name);

}  // namespace hashgrad
