// Networks by name: those of the papers, and those that their attacks and defences are compared with.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "nn/models/settings.h"
#include "nn/spec.h"

namespace hashgrad {

struct ZooEntry {
  std::string name;
  std::string spec;  ///< with every setting at its default
  int64_t parameters;
  std::string source;  ///< where the network comes from, and what had to be decided
  /// What may follow the name in parentheses, for people to read, and the spec that it asks for; none and
  /// null for a network without settings.
  std::string settings{};
  std::function<std::string(NetworkSettings&)> build{};
};

/// All of them, in name order.
const std::vector<ZooEntry>& zoo();
/// The network of a name, or null.
const ZooEntry* find_in_zoo(const std::string& name);

/// Reads "resnet18", "resnet18(classes=100,stem=imagenet)", or a spec. Otherwise as parse_spec().
Spec spec_of(const std::string& text);

}  // namespace hashgrad
