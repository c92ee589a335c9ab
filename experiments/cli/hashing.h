// The flags that say how hashed layers place their virtual weights.
#pragma once

#include <string>

#include "experiments/cli/options.h"
#include "nn/model.h"

namespace hashgrad::cli {

struct HashFlags {
  std::string mode = "full";
  uint64_t seed = 0;
  bool bias = false;

  HashOptions options() const { return {mode == "xxhash" ? HashMode::xxhash : HashMode::full, seed, bias}; }
};

inline void add_hashing(CLI::App& verb, HashFlags& flags, const std::string& group) {
  verb.add_option("--hash-seed", flags.seed, "seed of the hash")->check(seed_number())->group(group);
  verb.add_option("--hash-mode", flags.mode, "how virtual weights are placed")
      ->check(one_of({"full", "xxhash"}))
      ->group(group);
  verb.add_flag("--hash-bias", flags.bias, "hash the biases too")->group(group);
}

}  // namespace hashgrad::cli
