// Attacks in turn, each on the rows that resisted those before.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "attacks/attack.h"

namespace hashgrad {

/// What a relay leaves. Passes are counted over all members that a row met; a row's status is that of the
/// last one it met. first_success of a broken row is the forward passes of the members before plus the steps
/// of the one that broke it, or -1 if that one has not seen its success itself (AttackResult).
struct Relayed {
  Crafted crafted;
  std::vector<int64_t> broken_by;  // [N] index of the member; -1: none
};

/// Which image a row has that none breaks: that of the first member, or of the last.
enum class Keeps { first, last };

/// Runs `members` in their order; asked_by(member) says how each may ask the model. At least one member.
Relayed relay(const std::vector<std::unique_ptr<Attack>>& members, const Oracle& oracle,
              const AttackInput& input, Keeps keeps,
              const std::function<OracleOptions(const Attack&)>& asked_by);

}  // namespace hashgrad
