// How the numbers of a compressed network are coded: which parameters are pruned, share a few values or lie
// on a fixed-point lattice, and behind which layers activations are rounded (docs/compression.md).
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>

#include "autograd/ops/fixed_point.h"

namespace hashgrad {

/// What is known of one parameter's values. In memory they are plain numbers all the same, so that every
/// kernel, attack and defence works on them; files and training make use of it.
struct ParameterCoding {
  bool pruned = false;                            ///< zeros are not stored, and stay zero in training
  int shared_bits = 0;                            ///< at most 2^bits values besides zero; 0: not shared
  std::optional<FixedPointFormat> fixed_point{};  ///< all values are of this format

  bool plain() const { return !pruned && shared_bits == 0 && !fixed_point; }
  bool operator==(const ParameterCoding&) const = default;
};

constexpr int most_shared_bits = 16;

struct Coding {
  std::map<std::string, ParameterCoding> parameters{};  ///< by name, "3.weight"; the others are plain
  std::map<size_t, FixedPointFormat> activations{};     ///< what layer i puts out is rounded

  ParameterCoding of(const std::string& parameter) const;
  bool operator==(const Coding&) const = default;
};

/// The metadata `masks` and `quantisers` of a model file, without the keys that would be empty. JSON lists of
///     {"method":"prune","parameter":P}
///     {"method":"kmeans","parameter":P,"bits":B}, {"method":"fixed-point","parameter":P,"width":W,"point":P}
///     {"method":"fixed-point","layer":I,"width":W,"point":P}
std::map<std::string, std::string> metadata_of(const Coding& coding);

/// Reads them back from all metadata of a file. Errors open with `name`: lists that are not as above, a
/// method that is not known, a parameter that is coded twice.
Coding coding_of(const std::map<std::string, std::string>& metadata, const std::string& name);

}  // namespace hashgrad
