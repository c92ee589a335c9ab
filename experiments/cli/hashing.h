// The flags that say how hashed layers place their virtual weights.
#pragma once

#include <algorithm>
#include <string>

#include "experiments/cli/options.h"
#include "nn/model.h"

namespace hashgrad::cli {

struct HashFlags {
  std::string mode = "full";
  uint64_t seed = 0;
  bool bias = false;

  HashOptions options() const {
    const auto known =
        std::find_if(hash_modes.begin(), hash_modes.end(), [&](HashMode m) { return name_of(m) == mode; });
    return {*known, seed, bias};
  }
};

inline void add_hashing(CLI::App& verb, HashFlags& flags, const std::string& group) {
  verb.add_option("--hash-seed", flags.seed, "seed of the hash")->check(seed_number())->group(group);
  verb.add_option("--hash-mode", flags.mode, "how virtual weights are placed")
      ->check(one_of({"full", "strat", "window", "xxhash"}))
      ->group(group);
  verb.add_flag("--hash-bias", flags.bias, "hash the biases too")->group(group);
}

}  // namespace hashgrad::cli
