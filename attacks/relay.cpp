#include "attacks/relay.h"

#include <numeric>

namespace hashgrad {

Relayed relay(const std::vector<std::unique_ptr<Attack>>& members, const Oracle& oracle,
              const AttackInput& input, Keeps keeps,
              const std::function<OracleOptions(const Attack&)>& asked_by) {
  Relayed result{Crafted(input.x), {}};
  Crafted& out = result.crafted;
  result.broken_by.assign(out.status.size(), -1);
  std::vector<int64_t> open(out.status.size());  // rows not broken yet
  std::iota(open.begin(), open.end(), 0);
  for (size_t m = 0; m < members.size(); ++m) {
    const AttackResult r = members[m]->run(oracle.model(), gather(input, open), asked_by(*members[m]));
    std::vector<int64_t> resisting;
    for (size_t i = 0; i < open.size(); ++i) {
      const int64_t at = static_cast<int64_t>(i);
      const size_t row = static_cast<size_t>(open[i]);
      const bool broken = r.success.data<uint8_t>()[i] == 1;
      if (broken || m == 0 || keeps == Keeps::last) scatter(out.x_adv, {open[i]}, gather(r.x_adv, {at}));
      if (broken) {
        result.broken_by[row] = static_cast<int64_t>(m);
        const int64_t steps = r.first_success.data<int64_t>()[i];
        out.first_success[row] = steps < 0 ? -1 : out.forwards[row] + steps;
      } else {
        resisting.push_back(open[i]);
      }
      out.status[row] = static_cast<Status>(r.status.data<int64_t>()[i]);
      out.forwards[row] += r.forwards.data<int64_t>()[i];
      out.backwards[row] += r.backwards.data<int64_t>()[i];
    }
    open = std::move(resisting);
  }
  return result;
}

}  // namespace hashgrad
