// The flags of verbs that meet randomised models.
#pragma once

#include "attacks/gradient.h"
#include "experiments/cli/options.h"

namespace hashgrad::cli {

struct DrawFlags {
  int64_t eot = 1, judge = 20;

  Draws of(uint64_t seed) const { return {.count = eot, .judge = judge, .seed = seed}; }
};

constexpr int64_t most_draws = 100'000;

/// The defaults are what `flags` holds.
inline void add_draws(CLI::App& verb, DrawFlags& flags) {
  constexpr const char* group = "Randomised models";
  verb.add_option("--eot-draws", flags.eot, "draws whose mean gradients and answers the attacks follow")
      ->check(integer_in(1, most_draws))
      ->group(group);
  verb.add_option("--judge-draws", flags.judge, "other draws, whose majority says what fools the model")
      ->check(integer_in(1, most_draws))
      ->group(group);
}

/// Where there is no attack: how many draws an answer is made of.
inline void add_answer_draws(CLI::App& verb, int64_t& draws) {
  verb.add_option("--draws", draws, "draws of a randomised model; an ordinary one answers once")
      ->check(integer_in(1, most_draws))
      ->group("Randomised models");
}

}  // namespace hashgrad::cli
